"""What a request can be refused for."""


class InvalidInput(ValueError):
    """The request is wrong, and its message says what: the input by name, what was expected, what came.

    Triton sends it as INVALID_ARGUMENT; nothing else is disturbed.
    """
