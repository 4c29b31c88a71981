"""The parity gate: what is published does what its source does, step by step, or it is not
published.
"""
