"""A report as one self-contained HTML page: headings, paragraphs, tables and images, in order."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Heading:
    """The heading of a section."""

    kind: ClassVar = "heading"
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Text, followed by bold text, in a `style`."""

    kind: ClassVar = "paragraph"
    text: str
    bold: str = ""
    style: Literal["", "small", "bad"] = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells: text in the first column, numbers in the others; with `words`, only text."""

    kind: ClassVar = "table"
    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    words: bool = False


@dataclass(frozen=True)
class Figure:
    """An image file and its caption; narrow ones are side by side."""

    kind: ClassVar = "figure"
    image: bytes
    format: Literal["png", "jpeg"]
    caption: str
    narrow: bool = False

    @property
    def source(self) -> str:
        """The image as a data URL."""
        return f"data:image/{self.format};base64,{base64.b64encode(self.image).decode()}"


Block = Heading | Paragraph | Table | Figure


def render(title: str, blocks: Iterable[Block]) -> str:
    """Return the page; all content is escaped."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("boxwise_eval"), autoescape=True, trim_blocks=True
    )
    return environment.get_template("page.html").render(title=title, blocks=blocks)
