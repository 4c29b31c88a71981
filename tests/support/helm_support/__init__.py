"""The chart, rendered by a real helm and run without a cluster."""
