"""Checkpoint -> ONNX -> model repository."""
