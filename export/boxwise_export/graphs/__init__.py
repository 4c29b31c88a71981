"""A source's graph becomes one that can be served: pixels in, candidates or labels out."""
