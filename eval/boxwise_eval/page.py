"""An evaluation as an HTML page of tables, plots and the worst images."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import ImageDraw

from boxwise._image import to_pil, to_tensor
from boxwise_eval.classification import ClassifierFigures
from boxwise_eval.datasets.base import LabelledImage
from boxwise_eval.detection import DetectionFigures, Matches
from boxwise_eval.html_page import Block, Figure, Heading, Paragraph, Table
from boxwise_eval.html_page import render as render_page
from boxwise_eval.report import Report
from boxwise_eval.run import Detections

_WORST = 12  # images drawn
_WIDTH = 640  # of a drawn image in pixels
_MOST_CLASSES = 40  # of a readable confusion matrix
_RIGHT, _WRONG, _MISSED = "#2ca02c", "#d62728", "#ff9f0e"


def render(report: Report) -> str:
    """Return the page."""
    return render_page(f"{report.pipeline}, evaluated by boxwise", _blocks(report))


def _blocks(report: Report) -> Iterator[Block]:
    yield Paragraph(f"{len(report.dataset.images)} images, {report.dataset.kind}.")
    yield from (Paragraph("", bold=note) for note in report.notes)
    if report.detection:
        yield from _detection(report, report.detection)
    for name, figures in report.classifiers.items():
        yield from _classifier(name, figures)


def _detection(report: Report, figures: DetectionFigures) -> Iterator[Block]:
    yield Heading("Boxes")
    yield _table(figures.rows())
    yield Paragraph(report.conditions())
    if figures.curve:
        yield _plot(
            "precision over recall at IoU .5, mean over classes",
            (6, 4),
            lambda axes: _draw_curve(axes, figures),
        )
    if figures.classes:
        height = 1 + 0.22 * len(figures.classes)
        yield _plot(
            "AP@[.5:.95] of each class",
            (8, height),
            lambda axes: _draw_classes(axes, figures.classes),
        )
    yield Heading("The worst images")
    yield Paragraph(
        f"Green: right, red: wrong, orange: missed, at score {report.working_threshold:g} "
        "and IoU .5."
    )
    names = report.dataset.names or ()
    rows = zip(report.dataset.images, report.found, figures.matches, strict=True)
    ranked = sorted(rows, key=lambda row: -(len(row[2].wrong) + len(row[2].missed)))
    for image, found, match in ranked[:_WORST]:
        if match.wrong or match.missed:
            caption = f"{image.path.name}: {_errors(match)}"
            yield Figure(_drawn(image, found, match, names), "jpeg", caption, narrow=True)


def _classifier(name: str, figures: ClassifierFigures) -> Iterator[Block]:
    yield Heading(name)
    top5 = {} if figures.top5 is None else {"top-5": figures.top5}
    yield _table({"top-1": figures.top1, **top5, "of": figures.count})
    # Only the labels that are most often confused, so that the matrix stays readable.
    mistakes: dict[str, int] = {}
    for (true, predicted), count in figures.confusion.items():
        for label in (true, predicted):
            mistakes[label] = mistakes.get(label, 0) + (count if true != predicted else 0)
    shown = sorted(sorted(mistakes, key=lambda label: -mistakes[label])[:_MOST_CLASSES])
    side = 2.5 + 0.25 * len(shown)
    yield _plot(
        "confusion matrix",
        (side, side),
        lambda axes: _draw_confusion(axes, figures.confusion, shown),
    )


def _table(rows: Mapping[str, float | int | None]) -> Table:
    def text(value: float | int | None) -> str:
        return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

    return Table([(name, text(value)) for name, value in rows.items()])


def _plot(title: str, size: tuple[float, float], draw: Callable[[Any], None]) -> Figure:
    import matplotlib.figure  # without pyplot: no window, no state

    figure = matplotlib.figure.Figure(figsize=size, layout="tight")
    axes = figure.add_subplot()
    draw(axes)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return Figure(file.getvalue(), "png", title)


def _draw_curve(axes: Any, figures: DetectionFigures) -> None:
    axes.plot(np.linspace(0, 1, len(figures.curve)), figures.curve)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def _draw_classes(axes: Any, classes: Mapping[str, float]) -> None:
    ordered = sorted(classes, key=lambda name: classes[name])
    axes.barh(ordered, [classes[name] for name in ordered])
    axes.set(xlim=(0, 1))
    axes.tick_params(labelsize=8)
    axes.margins(y=0.01)


def _draw_confusion(
    axes: Any, confusion: Mapping[tuple[str, str], int], labels: Sequence[str]
) -> None:
    counts = np.array([[confusion.get((true, other), 0) for other in labels] for true in labels])
    axes.imshow(counts, cmap="Blues")
    names = [label or "(did not run)" for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlabel="predicted", ylabel="true")
    for y, x in zip(*np.nonzero(counts), strict=True):
        axes.text(x, y, counts[y, x], ha="center", va="center", fontsize=6)


def _drawn(image: LabelledImage, found: Detections, match: Matches, names: Sequence[str]) -> bytes:
    shown = to_pil(to_tensor(image.path))
    scale = min(1.0, _WIDTH / shown.width)
    shown = shown.resize((max(1, round(shown.width * scale)), max(1, round(shown.height * scale))))
    canvas = ImageDraw.Draw(shown)
    kinds = (
        (_RIGHT, found.boxes, found.class_ids, found.scores, match.right),
        (_WRONG, found.boxes, found.class_ids, found.scores, match.wrong),
        (_MISSED, image.boxes, image.class_ids, None, match.missed),
    )
    for colour, boxes, class_ids, scores, rows in kinds:
        for row in rows:
            box = [edge * scale for edge in boxes[row].tolist()]
            canvas.rectangle(box, outline=colour, width=2)
            text = names[class_ids[row]] + (f" {scores[row]:.2f}" if scores is not None else "")
            where = (box[0] + 3, box[1] + 2)
            canvas.rectangle(canvas.textbbox(where, text), fill=colour)
            canvas.text(where, text, fill="white")
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=85)
    return file.getvalue()


def _errors(match: Matches) -> str:
    return f"{len(match.right)} right, {len(match.wrong)} wrong, {len(match.missed)} missed"
