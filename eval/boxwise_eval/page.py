"""A report as one HTML page that needs nothing beside it: tables, plots, and the worst pictures drawn."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import ImageDraw

from boxwise._image import to_pil, to_tensor
from boxwise_eval.classification import ClassifierFigures
from boxwise_eval.datasets.base import Picture
from boxwise_eval.detection import DetectionFigures, Matches
from boxwise_eval.report import Report
from boxwise_eval.run import Found

_WORST = 12  # pictures that are drawn
_WIDTH = 640  # pixels of a drawn picture
_MOST_CLASSES = 40  # of a confusion matrix that can still be read
_RIGHT, _WRONG, _MISSED = "#2ca02c", "#d62728", "#ff9f0e"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: left }
td:last-child { text-align: right; font-variant-numeric: tabular-nums } img { max-width: 100%; height: auto }
figure { display: inline-block; margin: 0 1rem 1rem 0; width: 30rem; max-width: 100%; vertical-align: top }
"""


def render(report: Report) -> str:
    """The page, as text."""
    body = [
        f"<h1>{html.escape(report.pipeline)}</h1>",
        f"<p>{len(report.dataset.pictures)} pictures, {html.escape(report.dataset.kind)}.</p>",
        *(f"<p><strong>{html.escape(note)}</strong></p>" for note in report.notes),
    ]
    if report.detection:
        body += _detection(report, report.detection)
    for name, figures in report.classifiers.items():
        body += _classifier(name, figures)
    title = f"{html.escape(report.pipeline)}, evaluated by boxwise"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _detection(report: Report, figures: DetectionFigures) -> Iterator[str]:
    yield "<h2>Boxes</h2>"
    yield _table(figures.rows())
    yield f"<p>{report.conditions()}</p>"
    if figures.curve:
        yield _plot(
            "precision over recall at IoU .5, mean over classes", (6, 4), lambda axes: _draw_curve(axes, figures)
        )
    if figures.classes:
        height = 1 + 0.22 * len(figures.classes)
        yield _plot("AP@[.5:.95] of each class", (8, height), lambda axes: _draw_classes(axes, figures.classes))
    yield "<h2>The worst pictures</h2>"
    yield (
        f'<p><span style="color:{_RIGHT}">right</span>, <span style="color:{_WRONG}">wrong</span>, '
        f'<span style="color:{_MISSED}">missed</span>, at score {report.working_threshold:g} and IoU .5.</p>'
    )
    names = report.dataset.names or ()
    rows = zip(report.dataset.pictures, report.found, figures.matches, strict=True)
    ranked = sorted(rows, key=lambda row: -(len(row[2].wrong) + len(row[2].missed)))
    for picture, found, match in ranked[:_WORST]:
        if match.wrong or match.missed:
            yield _figure(_drawn(picture, found, match, names), f"{picture.path.name}: {_errors(match)}")


def _classifier(name: str, figures: ClassifierFigures) -> Iterator[str]:
    yield f"<h2>{html.escape(name)}</h2>"
    top5 = {} if figures.top5 is None else {"top-5": figures.top5}
    yield _table({"top-1": figures.top1, **top5, "of so many": figures.count})
    # The labels that are most often confused, so that the matrix can be read.
    mistakes: dict[str, int] = {}
    for (true, said), count in figures.confusion.items():
        for label in (true, said):
            mistakes[label] = mistakes.get(label, 0) + (count if true != said else 0)
    shown = sorted(sorted(mistakes, key=lambda label: -mistakes[label])[:_MOST_CLASSES])
    side = 2.5 + 0.25 * len(shown)
    yield _plot("confusion matrix", (side, side), lambda axes: _draw_confusion(axes, figures.confusion, shown))


def _table(rows: Mapping[str, float | int | None]) -> str:
    def text(value: float | int | None) -> str:
        return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

    cells = (f"<tr><td>{html.escape(name)}</td><td>{text(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _plot(title: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    from matplotlib.figure import Figure  # without pyplot: no window, no state

    figure = Figure(figsize=size, layout="tight")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    draw(axes)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return f'<p><img alt="{html.escape(title)}" src="{_inline(file.getvalue(), "png")}"></p>'


def _draw_curve(axes: Any, figures: DetectionFigures) -> None:
    axes.plot(np.linspace(0, 1, len(figures.curve)), figures.curve)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def _draw_classes(axes: Any, classes: Mapping[str, float]) -> None:
    ordered = sorted(classes, key=lambda name: classes[name])
    axes.barh(ordered, [classes[name] for name in ordered])
    axes.set(xlim=(0, 1))
    axes.tick_params(labelsize=8)
    axes.margins(y=0.01)


def _draw_confusion(axes: Any, confusion: Mapping[tuple[str, str], int], labels: Sequence[str]) -> None:
    counts = np.array([[confusion.get((true, said), 0) for said in labels] for true in labels])
    axes.imshow(counts, cmap="Blues")
    names = [label or "(not asked)" for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlabel="said", ylabel="true")
    for y, x in zip(*np.nonzero(counts), strict=True):
        axes.text(x, y, counts[y, x], ha="center", va="center", fontsize=6)


def _drawn(picture: Picture, found: Found, match: Matches, names: Sequence[str]) -> bytes:
    shown = to_pil(to_tensor(picture.path))
    scale = min(1.0, _WIDTH / shown.width)
    shown = shown.resize((max(1, round(shown.width * scale)), max(1, round(shown.height * scale))))
    canvas = ImageDraw.Draw(shown)
    kinds = (
        (_RIGHT, found.boxes, found.class_ids, found.scores, match.right),
        (_WRONG, found.boxes, found.class_ids, found.scores, match.wrong),
        (_MISSED, picture.boxes, picture.class_ids, None, match.missed),
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


def _figure(picture: bytes, caption: str) -> str:
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="{_inline(picture, "jpeg")}"><figcaption>{text}</figcaption></figure>'


def _inline(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
