"""The error of an evaluation."""


class EvalError(ValueError):
    """A labelled set is invalid or does not fit the pipeline. Its message names file and fix."""
