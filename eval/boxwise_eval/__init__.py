"""How good a pipeline is, on images whose objects are known."""
