"""How good a pipeline is, on pictures whose objects are known."""
