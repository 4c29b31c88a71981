"""Why an export is refused.

ExportError
├── PipelineError     the pipeline file
├── SourceError       a checkpoint
├── GraphError        its graph
└── RepositoryError   the repository
"""


class ExportError(ValueError):
    """The pipeline cannot be exported; the message names the key or tensor, what was expected, and
    the fix.
    """


class PipelineError(ExportError):
    """The pipeline file is wrong."""


class GraphError(ExportError):
    """A checkpoint's graph is not one that can be served."""


class SourceError(ExportError):
    """A checkpoint cannot be read; the message names the file or node, what was expected, and the
    fix.
    """


class RepositoryError(ExportError):
    """A repository cannot be written or read; the message says which part of it, and the fix."""
