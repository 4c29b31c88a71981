"""The peers that boxwise is measured beside: other ways to serve the same pipeline, each a small
honest program.
"""
