"""Measurements that only this project runs; not part of the wheel. Each is `python -m`, and prints.

    peers:      other ways to serve the same pipeline (baselines/), compared with boxwise
    client:     the SDK compared with tritonclient          null_server, null_triton: their servers
    calibrate:  whether `boxwise perf compare` finds what it should, and nothing else
    costs, footprint, growth, scale: CPU per stage, memory, more requests and boxes, more servers

`measure.closed_loop` is the load of all but calibrate. boxwise_perf has what users run.
"""
