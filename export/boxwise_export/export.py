"""The whole export: pipeline file -> plan -> stages -> parity gate -> repository."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from boxwise_export.accuracy import Accuracy, load_labelled, measure
from boxwise_export.checkpoints.download import DownloadError, fetch
from boxwise_export.checkpoints.network import Report
from boxwise_export.demo_assets import PHOTOS
from boxwise_export.errors import ExportError
from boxwise_export.graphs.large_models import give_back_memory
from boxwise_export.observed import Observed, contact_sheet, observe, warnings
from boxwise_export.parity.gate import MOST_IMAGES, check_parity, find_images, read_image, spread
from boxwise_export.parity.limits import Limits, limits_of
from boxwise_export.parity.report import ParityReport
from boxwise_export.pipeline import Pipeline, Precision, load_pipeline
from boxwise_export.plan import Plan, make_plan
from boxwise_export.precision import quantized
from boxwise_export.repository.layouts import Stages
from boxwise_export.repository.publish import KEPT, Publication, publish
from boxwise_export.repository.runner import runner_of
from boxwise_export.repository.stage_models import write_stages
from boxwise_runtime.cache import cache_folder
from boxwise_runtime.pipeline_runner import PipelineRunner
from boxwise_runtime.warmup import encode

if TYPE_CHECKING:
    from boxwise_eval.datasets import Dataset

_MOST_CALIBRATION = 64  # more do not change the ranges of int8 (see graphs/precision.py)


@dataclass(frozen=True)
class Exported:
    """What was published, and how it compares with its source."""

    plan: Plan
    parity: ParityReport
    accuracy: Accuracy | None
    warnings: tuple[str, ...]
    publication: Publication


def export(
    file: Path,
    out: Path,
    *,
    cores: int | None = None,
    precision: Precision = "fp32",
    calibration: Path | None = None,
    data: Path | None = None,
    keep: int = KEPT,
    sheet: bool = True,
    report: Report = lambda _: None,
) -> Exported:
    """Export a pipeline file into a model repository, if what is exported equals its source.

    Args:
        file: the pipeline file.
        out: the repository; created if missing.
        cores: of the machine that will serve; None: instances follow the cores of whichever
            machine serves.
        precision: of the graphs.
        calibration: a folder of images to compare on; None for the demo's photos, fetched into the
            user's cache.
        data: a labelled set; a lower precision is then judged by its accuracy there.
        keep: how many revisions are kept, this one included.
        sheet: whether to write a contact sheet of the compared images into the repository.
        report: told each step.

    Raises:
        ExportError: what is wrong, where, and the fix. ParityError: the stages differ from the
            source. The repository is unchanged.
    """
    pipeline = load_pipeline(file)
    text = file.read_text(encoding="utf-8")
    dataset = load_labelled(data) if data else None
    plan = make_plan(pipeline, cores=cores, fp16=precision == "fp16", report=report)
    images = images_of(calibration, report)
    first = read_image(images[0], plan.limits.max_pixels)
    plan = replace(plan, warmup_image=encode(first, plan.limits))
    if precision == "int8":
        frames = [
            read_image(path, plan.limits.max_pixels) for path in spread(images, _MOST_CALIBRATION)
        ]
        with running(plan) as exact:
            plan = quantized(plan, exact, frames, report)
    with staged(plan) as stages:
        judgement = _judged(pipeline, plan, stages, images, dataset, report)
        give_back_memory()
        accuracy, found = judgement.accuracy, judgement.warnings
        publication = publish(
            plan,
            stages,
            out,
            file=text,
            parity=judgement.parity.document(),
            accuracy=accuracy.document() if accuracy else None,
            warnings=found,
            sheet=judgement.sheet if sheet else None,
            keep=keep,
        )
    _say(publication.lines(), report)
    if publication.revision.sheet:
        report(
            f"look at {out / publication.revision.sheet}: the images that it was compared "
            "on, with what it finds"
        )
    _say((f"WARNING: {warning}" for warning in found), report)
    return Exported(plan, judgement.parity, accuracy, found, publication)


@dataclass(frozen=True)
class _Judgement:
    parity: ParityReport
    accuracy: Accuracy | None
    warnings: tuple[str, ...]
    sheet: bytes


def _judged(
    pipeline: Pipeline,
    plan: Plan,
    stages: Stages,
    images: Sequence[Path],
    dataset: Dataset | None,
    report: Report,
) -> _Judgement:
    """Compare the stages with their source, and measure them on a labelled set if there is one.

    Raises:
        ParityError, ExportError: they differ too much, or lose too much.
    """
    limits = limits_of(pipeline.tolerances, plan.precision)
    runner = _runner(plan, stages)
    report("comparing with the source")
    chosen = spread(images, MOST_IMAGES)
    parity = check_parity(plan, runner, chosen, limits)
    _say(parity.lines(), report)
    observed = observe(
        plan, runner, [(path.name, read_image(path, plan.limits.max_pixels)) for path in chosen]
    )
    accuracy = _accuracy(pipeline, plan, runner, dataset, limits, report) if dataset else None
    if accuracy:
        _say(accuracy.lines(), report)
        accuracy.require()
    # A lower precision is better judged by accuracy than by parity.
    if not accuracy or plan.precision == "fp32":
        parity.require()
    return _Judgement(parity, accuracy, _warnings(plan, observed), contact_sheet(observed))


def _warnings(plan: Plan, observed: Sequence[Observed]) -> tuple[str, ...]:
    """Return warnings about a detector's boxes; a classifier alone has none."""
    if plan.detector is None:
        return ()
    return tuple(warnings(observed, plan.detector.spec.score_threshold, plan.max_detections))


def _accuracy(
    pipeline: Pipeline,
    plan: Plan,
    runner: PipelineRunner,
    dataset: Dataset,
    limits: Limits,
    report: Report,
) -> Accuracy:
    """Measure the plan, and the same pipeline in fp32."""
    report(f"measuring on {len(dataset.images)} labelled images")
    figures = exact = measure(plan, runner, dataset)
    if plan.precision != "fp32":
        reference = make_plan(pipeline)
        with running(reference) as exact_runner:
            exact = measure(reference, exact_runner, dataset)
    return Accuracy(figures, exact, limits.accuracy, len(dataset.images))


def _say(lines: Iterable[str], report: Report) -> None:
    for line in lines:
        report(line)


@contextmanager
def staged(plan: Plan) -> Iterator[Stages]:
    """Yield the plan's stages, in temporary files."""
    with tempfile.TemporaryDirectory(prefix="boxwise-") as folder:
        stages = write_stages(plan, Path(folder))
        give_back_memory()  # of the serialised graphs
        yield stages


@contextmanager
def running(plan: Plan) -> Iterator[PipelineRunner]:
    """Yield the runner of a plan's stages."""
    with staged(plan) as stages:
        yield _runner(plan, stages)


def _runner(plan: Plan, stages: Stages) -> PipelineRunner:
    return runner_of(stages, threads=plan.instances * plan.threads)


def images_of(calibration: Path | None, report: Report) -> list[Path]:
    """Return the images of a folder, by default the demo's photos, downloaded into the cache.

    Raises:
        ExportError: there are none.
    """
    if calibration:
        return find_images(calibration)
    try:
        return list(fetch(PHOTOS, cache_folder() / "demo", report).values())
    except DownloadError as error:
        raise ExportError(
            f"there are no images to compare on: {error}; name a folder of yours with "
            "--calibration DIR"
        ) from error
