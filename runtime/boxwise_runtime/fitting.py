"""A model repository as this machine can serve it: instances by its cores, and requests in flight
by its memory.

What was exported for other cores is served with an instance a core of these, where its pipeline
file left that open (`BY_CORES` in the configuration). The repository stays as it is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from boxwise_contract.limits import MEGA
from boxwise_runtime.resources import Resources

# The name of an instance group that has an instance a core, or as many as fit; others were asked
# for by number.
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
    """What a model of the Python backend takes.

    Attributes:
        instances: processes.
        by_cores: whether they follow the cores.
        max_pixels: of an image that it decodes; 0 where it decodes none.
        in_flight: requests of one process at once.
        crosses: whether what it decodes goes to other processes.
    """

    instances: int
    by_cores: bool
    max_pixels: int
    in_flight: int
    crosses: bool

    @classmethod
    def read(cls, text: str) -> Stage | None:
        """Of a configuration's text; None where it is not of the Python backend."""
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
        """What so many processes of it may take at the same moment, all with the largest images."""
        a_pixel = DECODING_BYTES + (CROSSING_BYTES if self.crosses else 0)
        return instances * (PROCESS_BYTES + self.in_flight * a_pixel * self.max_pixels)


def instances_for(stages: list[Stage], resources: Resources) -> int:
    """How many instances those that follow the cores get: one a core, at most 8, fewer where memory
    is short.

    Raises:
        NotEnoughMemory: one of each is too much.
    """
    most = min(resources.cores, MOST_INSTANCES)
    if resources.memory is None:
        return most
    for count in range(most, 0, -1):
        if needed(stages, count) <= resources.memory:
            return count
    pixels = max((stage.max_pixels for stage in stages), default=0)
    raise NotEnoughMemory(
        f"images of {pixels / MEGA:g} megapixels can take {needed(stages, 1) / MEGA:,.0f} "
        "MB with as few in flight "
        f"as may be, and there are {resources.memory / MEGA:,.0f}: lower `max_megapixels` "
        "in the pipeline file, or its "
        "`serving: {instances, in_flight}`, and export again, or allow more memory"
    )


def needed(stages: list[Stage], count: int) -> int:
    """Bytes that all stages may take, with so many instances of those that follow the cores."""
    return SERVER_BYTES + sum(
        stage.bytes(count if stage.by_cores else stage.instances) for stage in stages
    )


def fitter(repository: Path, resources: Resources) -> Callable[[str], str]:
    """What makes a configuration of this repository one for this machine; both as text.

    Raises:
        NotEnoughMemory: see `instances_for`.
    """
    texts = (path.read_text(encoding="utf-8") for path in sorted(repository.glob("*/config.pbtxt")))
    return _fit_to(instances_for(_stages(texts), resources), resources)


def _stages(texts: Iterable[str]) -> list[Stage]:
    return [stage for text in texts if (stage := Stage.read(text))]


def _fit_to(count: int, resources: Resources) -> Callable[[str], str]:
    """What gives a configuration so many instances, where they follow the cores."""
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
    """The repository, or another in `folder` whose configurations fit this machine; and what was
    changed.

    The other is of links: a version's files are those of the repository.

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
