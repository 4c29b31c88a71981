"""What a server says at /metrics, in Prometheus' text format."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple

# prometheus.io/docs/instrumenting/exposition_formats: a name, labels where there are some, a value.
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Sample(NamedTuple):
    """One value: of which metric, with which labels."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """The values of a page; labels whose values hold quotation marks are not Triton's, nor ours."""
    return [
        Sample(name, dict(_LABEL.findall(labels)), float(value))
        for name, labels, value in _SAMPLE.findall(text)
    ]


def scrape(url: str, timeout_s: float = 5) -> list[Sample]:
    """The values that a server has now. Raises OSError where it does not answer."""
    with urllib.request.urlopen(url, timeout=timeout_s) as reply:  # noqa: S310 - an address of our own server
        return parse(reply.read().decode())
