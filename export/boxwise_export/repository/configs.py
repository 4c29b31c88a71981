"""Triton model configurations: the committed templates, filled in, each statement under its
comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from boxwise_contract.tensors import TensorSpec
from boxwise_runtime.parameters import to_parameters

_STATEMENT = re.compile(r"^(\w+)")
_IDENTITY = re.compile(r'\b(?:name|key): "([^"]+)"')


@cache
def templates_folder() -> Path:
    """Return the folder of the templates: inside the package in a wheel,
    at the root in a checkout.
    """
    here = Path(__file__).resolve().parents[1]
    packaged = here / "model_repository"
    return packaged if packaged.is_dir() else here.parents[1] / "model_repository"


@dataclass(frozen=True)
class Template:
    """A configuration: its message, and the comment before each of its statements.

    Attributes:
        config: a model_config_pb2.ModelConfig.
        header: the comment that opens the file.
        comments: (field, its `name` or `key`) -> comment.
    """

    config: Any
    header: str
    comments: Mapping[tuple[str, str], str]

    @classmethod
    def load(cls, stage: str, file: str = "config.pbtxt") -> Template:
        """Read the template of a stage."""
        return cls.read((templates_folder() / stage / file).read_text(encoding="utf-8"))

    @classmethod
    def read(cls, text: str) -> Template:
        """Read a configuration, a template's or one that was filled in."""
        lines = text.splitlines()
        end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        comments = dict(_comments("\n".join(lines[end:])))
        return cls(
            text_format.Parse(text, model_config_pb2.ModelConfig()),
            "\n".join(lines[:end]),
            comments,
        )

    def with_tensors(
        self, inputs: Iterable[TensorSpec] = (), outputs: Iterable[TensorSpec] = ()
    ) -> Template:
        """Return the template with tensors of the contract added, each under its meaning.

        All inputs are optional, `image` and `frame` too. Triton only counts required inputs, and
        returns "unexpected deadlock" if one is missing; the first stage names it instead.
        """
        config, comments = self.copy(), dict(self.comments)
        for field, tensors in (("input", inputs), ("output", outputs)):
            for spec in tensors:
                tensor = getattr(config, field).add(
                    name=spec.name, data_type=f"TYPE_{spec.datatype}", dims=spec.shape
                )
                if field == "input":
                    tensor.optional = True
                comments[field, spec.name] = f"# {spec.meaning}"
        return Template(config, self.header, comments)

    def copy(self, name: str = "") -> Any:
        """Return a copy of the message to fill in, for a model of this name (default: its own)."""
        config = model_config_pb2.ModelConfig()
        config.CopyFrom(self.config)
        config.name = name or config.name
        return config

    def render(self, config: Any, aliases: Mapping[str, str] | None = None) -> str:
        """Return a filled-in message as text, each statement under its comment.

        Args:
            config: from `copy`.
            aliases: names in the message -> names in the template, for statements that were
                repeated.
        """
        parts = [self.header]
        for statement in _statements(text_format.MessageToString(config)):
            field, identity = _identify(statement)
            identity = (aliases or {}).get(identity, identity)
            comment = self.comments.get((field, identity)) or self.comments.get((field, ""))
            parts.append(f"{comment}\n{statement}" if comment else statement)
        return "\n".join(parts) + "\n"


def read_config(file: Path) -> Any:
    """Read a model's configuration, a model_config_pb2.ModelConfig."""
    return text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def model_py(stage: str) -> bytes:
    """Return the model.py of a stage."""
    return (templates_folder() / stage / "1" / "model.py").read_bytes()


def per_classifier(tensors: Any, top_k: Mapping[str, int]) -> dict[str, str]:
    """Repeat the template's `classifier_...` tensors for each classifier; returns new name ->
    template's name.
    """
    templates = [tensor for tensor in tensors if tensor.name.startswith("classifier_")]
    kept = [tensor for tensor in tensors if not tensor.name.startswith("classifier_")]
    made, aliases = [], {}
    for name, labels in top_k.items():
        for template in templates:
            tensor = type(template)()
            tensor.CopyFrom(template)
            tensor.name = name + template.name.removeprefix("classifier")
            if tensor.dims[-1] == 0:
                tensor.dims[-1] = labels
            made.append(tensor)
            aliases[tensor.name] = template.name
    del tensors[:]
    tensors.extend([*kept, *made])
    return aliases


def set_shape(tensors: Iterable[Any], name: str, dims: Iterable[int]) -> None:
    """Set the shape of the input or output of this name."""
    tensor = next(tensor for tensor in tensors if tensor.name == name)
    del tensor.dims[:]
    tensor.dims.extend(dims)


def remove(tensors: Any, name: str) -> None:
    """Remove the input or output of this name."""
    del tensors[next(i for i, tensor in enumerate(tensors) if tensor.name == name)]


def set_parameters(config: Any, values: Mapping[str, Any]) -> None:
    """Set the stage's fields, exactly those of the template.

    Raises:
        ValueError: the template and the stage have different fields.
    """
    parameters = to_parameters(values)
    if different := sorted(set(parameters) ^ set(config.parameters)):
        raise ValueError(
            f"{config.name}: the template's parameters differ from the stage's in "
            f"{', '.join(different)}"
        )
    for name, text in parameters.items():
        config.parameters[name].string_value = text


def _statements(text: str) -> Iterator[str]:
    """Yield the top-level statements of a text-format message."""
    block: list[str] = []
    for line in text.splitlines():
        if block and _STATEMENT.match(line):
            yield "\n".join(block)
            block = []
        if line.strip():
            block.append(line)
    if block:
        yield "\n".join(block)


def _identify(statement: str) -> tuple[str, str]:
    matched = _STATEMENT.match(statement)
    field = matched.group(1) if matched else ""
    # A model has one instance group, named or not.
    identity = (
        _IDENTITY.search(statement) if "{" in statement and field != "instance_group" else None
    )
    return field, identity.group(1) if identity else ""


def _comments(text: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield (field, its `name` or `key`) and the comment above, for each top-level statement."""
    comment: list[str] = []
    statement: list[str] = []
    for line in [*text.splitlines(), "#"]:
        if statement and (line.startswith("#") or _STATEMENT.match(line)):
            if comment:
                yield _identify("\n".join(statement)), "\n".join(comment)
            comment, statement = [], []
        (comment if line.startswith("#") else statement).append(line)
