"""Fit a model repository to the machine that serves it: instances to its cores, requests in flight
to its memory.

A pipeline file that sets no numbers marks its instance groups `BY_CORES`; such models get one
instance per core. The repository itself is not changed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from boxwise_contract.limits import MEGA
from boxwise_runtime.resources import Resources

# The name of an instance group that follows the cores; the number of others is the user's.
BY_CORES = "cores"
# More processes than this share caches and memory bandwidth and gain nothing; the cores left over
# become threads.
MOST_INSTANCES = 8
# Bytes a pixel at the peak of decoding, in every format and mode, with the 3 of the frame. Measured
# are 12.1 for progressive CMYK (libjpeg's coefficients, 8, and Pillow's 4) and for animations (two
# canvases), 9 for progressive JPEGs, and 8 at most otherwise (tests/runtime/test_decode_memory.py).
DECODING_BYTES = 15
# A process of a stage with what it imports and a small network, and tritonserver itself;
# `make bench-memory`.
PROCESS_BYTES, SERVER_BYTES = 130 << 20, 100 << 20
# Of a pixel that crosses processes, in /dev/shm, which counts as memory: in time up to 24
# (docs/explanation/reliability.md).
CROSSING_BYTES = 24

_GROUP = re.compile(r"^instance_group \{\n(?:  .*\n)*?\}", re.MULTILINE)
_COUNT = re.compile(r"(?<=  count: )\d+")
_PARAMETER = r'key: "(?:\w+\.)?{}"\n\s+value \{{\n\s+string_value: "([^"]*)"'


class NotEnoughMemory(Exception):
    """What is to be served does not fit into the memory there is; the message says what would."""


@dataclass(frozen=True)
class Stage:
    """What a model of the Python backend uses.

    Attributes:
        instances: number of processes.
        by_cores: whether they follow the cores.
        max_pixels: of an image that it decodes; 0 if it decodes none.
        in_flight: requests that one process runs concurrently.
        crosses: whether decoded images travel to other processes.
    """

    instances: int
    by_cores: bool
    max_pixels: int
    in_flight: int
    crosses: bool

    @classmethod
    def read(cls, text: str) -> Stage | None:
        """Read a configuration's text; None for another backend."""
        group = _GROUP.search(text)
        if group is None or 'backend: "python"' not in text:
            return None
        count = _COUNT.search(group[0])
        in_flight = int(_parameter(text, "in_flight") or 1)
        joined = (
            _parameter(text, "chunk") is not None and _parameter(text, "max_pixels") is not None
        )
        return cls(
            instances=int(count[0]) if count else 1,
            by_cores=f'name: "{BY_CORES}"' in group[0],
            max_pixels=int(_parameter(text, "max_pixels") or 0),
            in_flight=in_flight,
            crosses=not joined,
        )

    def bytes(self, instances: int) -> int:
        """Return the most memory that `instances` processes use, each with the largest images."""
        a_pixel = DECODING_BYTES + (CROSSING_BYTES if self.crosses else 0)
        return instances * (PROCESS_BYTES + self.in_flight * a_pixel * self.max_pixels)


def instances_for(stages: list[Stage], resources: Resources) -> int:
    """Return the instances of each stage that follows the cores: one per core, at most 8, fewer if
    memory is short.

    Raises:
        NotEnoughMemory: one instance of each is too much.
    """
    most = min(resources.cores, MOST_INSTANCES)
    if resources.memory is None:
        return most
    for count in range(most, 0, -1):
        if needed(stages, count) <= resources.memory:
            return count
    pixels = max((stage.max_pixels for stage in stages), default=0)
    raise NotEnoughMemory(
        f"images of {pixels / MEGA:g} megapixels can take {needed(stages, 1) / MEGA:,.0f} MB with "
        f"as few in flight as may be, and there are {resources.memory / MEGA:,.0f}: lower "
        "`max_megapixels` in the pipeline file, or its `serving: {instances, in_flight}`, and "
        "export again, or allow more memory"
    )


def needed(stages: list[Stage], count: int) -> int:
    """Return the most bytes that all stages use, with `count` instances of those that follow the
    cores.
    """
    return SERVER_BYTES + sum(
        stage.bytes(count if stage.by_cores else stage.instances) for stage in stages
    )


def fitter(repository: Path, resources: Resources) -> Callable[[str], str]:
    """Return a function that fits a configuration of this repository, as text, to this machine.

    Raises:
        NotEnoughMemory: see `instances_for`.
    """
    texts = (path.read_text(encoding="utf-8") for path in sorted(repository.glob("*/config.pbtxt")))
    return _fit_to(instances_for(_stages(texts), resources), resources)


def _stages(texts: Iterable[str]) -> list[Stage]:
    return [stage for text in texts if (stage := Stage.read(text))]


def _fit_to(count: int, resources: Resources) -> Callable[[str], str]:
    """Return a function that sets the instances of a configuration that follows the cores."""
    threads = max(1, resources.cores // count) if count == MOST_INSTANCES else 1

    def fit(text: str) -> str:
        stage = Stage.read(text)
        if stage is None or not stage.by_cores:
            return text
        group = _GROUP.search(text)
        assert group is not None  # noqa: S101 (it was read from there)
        text = text[: group.start()] + _COUNT.sub(str(count), group[0]) + text[group.end() :]
        return re.sub(
            _PARAMETER.format("threads"), lambda found: _replaced(found, str(threads)), text
        )

    return fit


def fitted(repository: Path, folder: Path, resources: Resources) -> tuple[Path, str | None]:
    """Return the repository, or one in `folder` whose configurations fit this machine, and what was
    changed.

    The latter links to the files of the former.

    Raises:
        NotEnoughMemory: see `instances_for`.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in _configs(repository)}
    count = instances_for(
        _stages(text for path, text in texts.items() if path.parent.parent == repository), resources
    )
    fit = _fit_to(count, resources)
    changed = {path: fit(text) for path, text in texts.items()}
    if changed == texts:
        return repository, None
    shutil.rmtree(folder, ignore_errors=True)
    for model in sorted(path for path in repository.iterdir() if path.is_dir()):
        (folder / model.name).mkdir(parents=True)
        for entry in model.iterdir():
            (folder / model.name / entry.name).symlink_to(entry.absolute())
    for path, text in changed.items():
        own = folder / path.relative_to(repository)
        if own.parent.is_symlink():  # configs/
            own.parent.unlink()
            shutil.copytree(path.parent, own.parent)
        own.unlink()
        own.write_text(text, encoding="utf-8")
    memory = "" if resources.memory is None else f", memory: {resources.memory / MEGA:,.0f} MB"
    return (
        folder,
        f"fitted to this machine (cores: {resources.cores}{memory}); instances of each "
        f"heavy stage: {count}",
    )


def _configs(repository: Path) -> Iterator[Path]:
    yield from sorted([*repository.glob("*/config.pbtxt"), *repository.glob("*/configs/*.pbtxt")])


def _parameter(text: str, key: str) -> str | None:
    found = re.search(_PARAMETER.format(key), text)
    return found[1] if found else None


def _replaced(found: re.Match[str], value: str) -> str:
    return (
        found[0][: found.start(1) - found.start()]
        + value
        + found[0][found.end(1) - found.start() :]
    )
