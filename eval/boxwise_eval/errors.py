"""What stops an evaluation."""


class EvalError(ValueError):
    """A labelled set cannot be read, or does not fit the pipeline; the message names the file and
    the fix.
    """
