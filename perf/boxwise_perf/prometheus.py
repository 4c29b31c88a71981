"""A server's metrics, read from Prometheus' text format."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple

# prometheus.io/docs/instrumenting/exposition_formats: a name, optional labels, a value.
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Sample(NamedTuple):
    """One value of a metric, with its labels."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """Return the values of a page. Values of labels must not contain quotation marks."""
    return [
        Sample(name, dict(_LABEL.findall(labels)), float(value))
        for name, labels, value in _SAMPLE.findall(text)
    ]


def scrape(url: str, timeout_s: float = 5) -> list[Sample]:
    """Return the current values of a server. Raises OSError if it does not respond."""
    with urllib.request.urlopen(url, timeout=timeout_s) as reply:  # noqa: S310 - our own server
        return parse(reply.read().decode())
