"""The tensor contract between clients and pipelines, version 1: its facts, each stated once.

    client: options.RequestOptions ─▶ options.OPTIONS, tensors.IMAGE ─▶ gRPC
    stages: options.Thresholds.read ─▶ one `thresholds` tensor ─▶ Thresholds.unpack, in `nms`
            limits.ImageLimits ─▶ refusals.InvalidInput, or pixels
    stages: tensors.DETECTIONS, label_tensors() ─▶ gRPC ─▶ client: Result
    errors: refusals.py: what a message says ─▶ the client's error

It depends on numpy only. The SDK, the stages inside Triton and the exporter import its modules, and
it imports none of them. CONTRIBUTING.md lists what a new request option touches.
"""
