"""What an export can be refused for."""


class ExportError(ValueError):
    """The pipeline cannot be exported; the message names the key or tensor, what was expected, and
    the fix.
    """


class PipelineError(ExportError):
    """The pipeline file is wrong."""


class GraphError(ExportError):
    """A checkpoint's graph is not one that can be served."""


class RepositoryError(ExportError):
    """A repository cannot be written or read; the message says which part of it, and the fix."""
