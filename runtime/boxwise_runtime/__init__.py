"""What runs inside Triton, and the launcher that starts one.

    model.py ─▶ python_backend.py, or bls.py: requests, queues, warm-up, metrics
             ─▶ stages.py: pure functions from tensors to tensors
             ─▶ decode.py, canvas.py, nms.py, crop.py: the pixels and the geometry

`pipeline_runner.py` calls all stages in one process. `targets/` says what can run the networks.
"""
