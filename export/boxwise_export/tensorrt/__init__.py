"""TensorRT plans, built from exported graphs where they will be served.

The module itself (`tensorrt`, or `tensorrt_rtx` in its place) is passed in: one code path for
TensorRT 10.12 and 11.
"""
