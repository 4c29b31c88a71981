"""What the contract tests share: calls with plain tritonclient, synthetic models, and references
written anew.
"""
