"""Read YAML that people write, without letting a small file become a large document."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_NODES = 100_000


def load_yaml(text: str) -> Any:
    """Parse YAML; an alias counts as its content.

    Raises:
        yaml.YAMLError: not YAML, or of more than 100,000 values.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _count(root, {}, ())
        return yaml.safe_load(text)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


def _count(node: yaml.Node, counted: dict[int, int], path: tuple[int, ...]) -> int:
    """Count the values of a node, aliases expanded."""
    if id(node) in counted:
        return counted[id(node)]
    if id(node) in path:
        raise yaml.YAMLError("a value that contains itself")
    total = 1
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode):
        children = [
            child for each in node.value for child in (each if isinstance(each, tuple) else (each,))
        ]
        total += sum(_count(child, counted, (*path, id(node))) for child in children)
    if total > _MOST_NODES:
        raise yaml.YAMLError(
            f"more than {_MOST_NODES:,} values, aliases counted as what they stand for"
        )
    counted[id(node)] = total
    return total
