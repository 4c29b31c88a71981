"""Write the chart's table of values into its README: `python helm/readme.py`; `--check` fails where
it is out of date.

The table is made of values.yaml: a line `# -- what it is` describes the key below it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

CHART = Path(__file__).parent / "boxwise"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):")


class Row(NamedTuple):
    """One value: its dotted key, its default as JSON, and what it is."""

    key: str
    default: str
    text: str


def rows(values: str) -> list[Row]:
    """The described values of a values.yaml, in its order."""
    parsed = yaml.safe_load(values)
    found, path, text = [], [], ""
    for line in values.splitlines():
        if line.lstrip().startswith("# -- "):
            text = line.partition("# -- ")[2]
        elif match := _KEY.match(line):
            path = [*path[: len(match["indent"]) // 2], match["key"]]
            if text:
                default = parsed
                for key in path:
                    default = default[key]
                found.append(Row(".".join(path), json.dumps(default), text))
            text = ""
    return found


def written(page: str, table: list[Row]) -> str:
    """The page with this table between its marks."""
    lines = [
        f"| `{row.key}` | `{row.default}` | {row.text.replace('|', chr(92) + '|')} |"
        for row in table
    ]
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return "\n".join(
        [
            f"{before}{BEGIN}",
            "| value | default | what it is |",
            "|---|---|---|",
            *lines,
            f"{END}{after}",
        ]
    )


def main() -> None:
    """Write the README, or compare with it."""
    readme = CHART / "README.md"
    page = readme.read_text(encoding="utf-8")
    new = written(page, rows((CHART / "values.yaml").read_text(encoding="utf-8")))
    if "--check" not in sys.argv:
        readme.write_text(new, encoding="utf-8")
    elif page != new:
        raise SystemExit("helm/boxwise/README.md is older than values.yaml: make helm-readme")


if __name__ == "__main__":
    main()
