"""What a request can be refused for."""


class InvalidInput(ValueError):
    """The request is wrong, and its message says what: the input by name, what was expected, what
    came.

    Triton sends it as INVALID_ARGUMENT; nothing else is disturbed.

    Attributes:
        reason: a word for its kind, one of `metrics.REASONS`, by which refusals are counted.
    """

    def __init__(self, message: str, reason: str = "option") -> None:
        super().__init__(message)
        self.reason = reason
