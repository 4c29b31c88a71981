"""Performance of a served pipeline: load it, measure it, compare, search and tune.

    images.workload() ─▶ generator (a process: load.drive) ─▶ server ─▶ Samples
    Samples, Triton's statistics, CPU, GPUs ─▶ trial.measure ─▶ Trial
    Trials ─▶ search (highest rate), compare (A / B), tuner (best configuration)
           ─▶ result: versioned JSON ─▶ page, plots

`bench.Bench` holds the servers and the generator. `stats` has the intervals of every figure.
"""
