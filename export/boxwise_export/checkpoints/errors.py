"""What every source raises for a checkpoint that it cannot turn into an ONNX model."""

from boxwise_export.errors import ExportError


class SourceError(ExportError):
    """A checkpoint that cannot be read; its text names the file or node, what was expected, and the
    fix.
    """
