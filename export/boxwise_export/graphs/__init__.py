"""A source's graph becomes one that can be served: pixels in, candidates or labels out.

    uint8 image ─ normalize.py ─▶ float ─ source.py: the source's graph ─▶ raw outputs
    detector.py    raw outputs ─ the family's decoding ─▶ top-K candidates
    classifier.py  raw outputs ─ activation ─▶ top-k labels

`batch.py` opens a fixed batch, `precision.py` rewrites a graph in fp16 or int8, `builder.py` writes
nodes.
"""
