"""From a person's checkpoints to a repository that Triton serves.

    pipeline.yaml ─ pipeline.py ─▶ Pipeline
    checkpoints/   a checkpoint ─▶ Source, Network      families/   its head ─▶ Reading
    graphs/        source + preprocessing + decoding ─▶ one ONNX graph per network
    plan.py        all of it ─▶ Plan                    repository/ Plan ─▶ stages, models, REPO
    parity/        stages against their source ─▶ published, or refused

`export.py` runs these in order; `tensorrt/` builds plans where a repository is served.
"""
