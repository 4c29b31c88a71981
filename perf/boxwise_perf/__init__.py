"""Load, measure, compare: what the pipeline costs, as figures anyone can reproduce."""
