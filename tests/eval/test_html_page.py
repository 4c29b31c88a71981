"""The page of reports: every block in its place, everything escaped,
and nothing needed beside it.
"""

from html.parser import HTMLParser

from boxwise_eval.html_page import Block, Figure, Heading, Paragraph, Table, render

TEXT = '<script src="x">&"'


class Read(HTMLParser):
    """The tags of a page in order, its text, and what it refers to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_a_page_without_blocks() -> None:
    read = Read(render("nothing", []))
    assert read.tags == ["html", "head", "meta", "title", "style", "body", "h1"]
    assert read.texts.count("nothing") == 2


def test_every_block_in_its_order_and_escaped() -> None:
    blocks: list[Block] = [
        Heading(TEXT),
        Paragraph(TEXT, bold=TEXT),
        Table([(TEXT, "1\n[0, 2]")], head=(TEXT, "")),
        Table([("a",)], words=True),
        Figure(b"\xff", "jpeg", TEXT),
    ]
    read = Read(render(TEXT, blocks))
    assert read.tags[6:] == [
        *("h1", "h2", "p", "strong"),
        *("table", "tr", "th", "th", "tr", "td", "td"),
        *("table", "tr", "td"),
        *("figure", "img", "figcaption"),
    ]
    assert read.texts.count(TEXT) == 8
    assert "1\n[0, 2]" in read.texts
    assert read.sources == ["data:image/jpeg;base64,/w=="]
