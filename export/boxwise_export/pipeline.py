"""The pipeline file: what a person writes, checked, with errors that name the key and the fix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from boxwise_export.errors import PipelineError
from boxwise_export.labels import as_name
from boxwise_export.serving_config import Layout
from boxwise_export.yaml_file import load_yaml
from boxwise_runtime.canvas import ColorOrder, Interpolation, Resize

# The longest list of candidates that leaves a detector's graph; DESIGN.md, "The stages".
MAX_CANDIDATES = 1000
# What `weights:` may begin with, in place of a file.
FRAMEWORKS = ("torchvision", "timm", "ultralytics")
NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# Model names that end so are those of the pipeline's own stages.
STAGE_SUFFIXES = (
    "_raw",
    "_info",
    "_preprocess",
    "_whole_picture",
    "_detector",
    "_nms",
    "_assemble",
)


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _triple(value: object) -> object:
    return (value,) * 3 if isinstance(value, int | float) and not isinstance(value, bool) else value


Side = Annotated[int, Field(ge=1, le=8192)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_pair)]
Channels = Annotated[tuple[float, float, float], BeforeValidator(_triple)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, BeforeValidator(as_name)]
Labels = str | list[Name]
Precision = Literal["fp32", "fp16", "int8"]
# What makes scores of a network's outputs; `none` where they are scores already.
Activation = Literal["softmax", "sigmoid", "none"]
# Which of a detector's class columns is no object.
Background = Literal["first", "last", "none"]
BoxFormat = Literal["xyxy", "yxyx", "xywh", "cxcywh"]
# The columns of a box in each format, as `tensors.columns` names them.
_BOX_COLUMNS: dict[tuple[str, ...], BoxFormat] = {
    ("x1", "y1", "x2", "y2"): "xyxy",
    ("x", "y", "w", "h"): "xywh",
    ("cx", "cy", "w", "h"): "cxcywh",
}
_OTHER_COLUMNS = ("score", "class", "batch", "skip")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Weights(_Section):
    """A checkpoint.

    `file` alone is an ONNX file (.onnx) or a TFJS graph model (.json); a PyTorch checkpoint (.pt,
    .pth) also names the `architecture` that it belongs to, as "package.module:factory", called with
    `arguments`. `outputs` keeps only these of the graph's outputs.

    `source` is a model of a framework, as "torchvision:NAME", "timm:NAME", "ultralytics:NAME.yaml":
    with `file`, its weights are read from there; without, they are those that the framework itself
    knows. A folder is a Hugging Face transformers model. `trust_pickle` allows a file to be read
    that can run code when it is read.
    """

    file: Path | None = None
    source: Annotated[str, Field(pattern=rf"^({'|'.join(FRAMEWORKS)}):.+$")] | None = None
    trust_pickle: bool = False
    architecture: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")] | None = None
    arguments: list[Any] = []
    outputs: list[str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: object) -> object:
        if isinstance(value, str) and value.partition(":")[0] in FRAMEWORKS:
            return {"source": value}
        return {"file": value} if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _from_somewhere(self) -> Weights:
        if self.file is None and self.source is None:
            raise ValueError("needs either `file` or `source`")
        return self

    @property
    def title(self) -> str:
        """What a person calls them."""
        return " ".join(
            part for part in (self.source, self.file.name if self.file else None) if part
        )


class Normalize(_Section):
    """(x - mean) / std for each channel, in units of 0 to 255; one number stands for all three."""

    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)

    @property
    def text(self) -> str:
        """As a person reads it."""
        mean, std = (
            ", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std)
        )
        return f"mean [{mean}] std [{std}]"

    @field_validator("std")
    @classmethod
    def _not_zero(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(std):
            raise ValueError("expected numbers other than 0")
        return std


class Canvas(_Section):
    """How an image is laid on the detector's input; what is left out is the family's own way.

    `scaled_decoding` decodes a JPEG of at least twice the canvas at a half, a quarter or an 8th of
    its size: quicker, and boxes differ a little from those of the whole image. Without classifiers
    only, which are cut out of it.
    """

    size: Size | None = None
    resize: Resize | None = None
    pad_value: Annotated[int, Field(ge=0, le=255)] | None = None
    interpolation: Interpolation | None = None
    color_order: ColorOrder | None = None
    scaled_decoding: bool = False


class Tensors(_Section):
    """Which outputs hold what, of a graph that gives its boxes decoded (family `generic`).

    Either outputs of their own: `boxes` [B, N, 4] in `box_format`, `scores` [B, N] or [B, N, C],
    and `classes` [B, N], where scores are [B, N] and there are several classes. Or one output,
    `rows` [B, N, columns] or [N, columns], whose `columns` are named in their order: x1 y1 x2 y2,
    or cx cy w h, or x y w h; score; class; batch (the number of the image); skip, for any other.

    Boxes are in pixels of the canvas, or fractions of it (`units`). `nms: false` where the graph
    has done it.
    """

    boxes: str | None = None
    scores: str | None = None
    classes: str | None = None
    rows: str | None = None
    columns: list[str] | None = None
    box_format: BoxFormat = "xyxy"
    units: Literal["pixels", "fraction"] = "pixels"
    nms: bool = True

    @model_validator(mode="after")
    def _one_way(self) -> Tensors:
        apart = self.boxes is not None and self.scores is not None
        together = self.rows is not None and self.columns is not None
        parts = [self.boxes, self.scores, self.classes]
        if apart == together or (together and any(part is not None for part in parts)):
            raise ValueError("needs either `boxes` and `scores`, or `rows` and `columns`")
        return self

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, columns: list[str] | None) -> list[str] | None:
        known = list(
            dict.fromkeys([*(word for box in _BOX_COLUMNS for word in box), *_OTHER_COLUMNS])
        )
        if unknown := [word for word in columns or [] if word not in known]:
            raise ValueError(f"{unknown[0]!r} is not known; expected {', '.join(known)}")
        return columns

    @model_validator(mode="after")
    def _whole_columns(self) -> Tensors:
        words = [word for word in self.columns or [] if word != "skip"]
        whole = "score" in words and self.box_columns and len(set(words)) == len(words)
        if self.columns is not None and not whole:
            raise ValueError(
                "columns: needs score and the four of one box, each once: x1 y1 x2 y2, cx "
                "cy w h or x y w h"
            )
        return self

    @property
    def box_columns(self) -> tuple[str, ...]:
        """The columns of the box, in the order of `column_format`; none where there is no whole
        box.
        """
        return next((box for box in _BOX_COLUMNS if set(box) <= set(self.columns or [])), ())

    @property
    def column_format(self) -> BoxFormat:
        """The format of the box that the columns hold."""
        return _BOX_COLUMNS[self.box_columns]


class Nms(_Section):
    """How boxes of one object are told from boxes of several (non-maximum suppression).

    `multi_label`: whether a cell gives a box for every class above the threshold, or for its best
    class alone; left out, as the predict function of the family's authors does. `class_agnostic`:
    whether a box suppresses boxes of every class, or of its own alone.
    """

    multi_label: bool | None = None
    class_agnostic: bool = False


class Detector(_Section):
    """What finds the objects. `labels` may be left out where the weights name them.

    `activation` makes scores of the class columns, and `background` is the column that is no
    object; left out, both are read from the values and the names, and asked for where these do not
    settle them. Of classes that the graph gives as numbers, `background: first` means that they
    count from 1.
    """

    weights: Weights
    family: str | None = None
    tensors: Tensors | None = None
    anchors: Path | None = None
    labels: Labels | None = None
    activation: Activation | None = None
    background: Background | None = None
    nms: Nms = Nms()
    score_threshold: Fraction = 0.25
    iou_threshold: Fraction = 0.5
    max_detections: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = 100
    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] | None = None
    canvas: Canvas = Canvas()
    normalize: Normalize | None = None
    max_batch_size: Annotated[int, Field(ge=1, le=256)] = 8

    @model_validator(mode="after")
    def _enough_candidates(self) -> Detector:
        if self.candidates is not None and self.candidates < self.max_detections:
            raise ValueError(
                f"candidates: {self.candidates} cannot fill max_detections: "
                f"{self.max_detections}; raise the former"
            )
        return self


class Crop(_Section):
    """How a region of the image becomes the classifier's input; what is left out is the weights'
    own way.

    `resize` stretches the region to this size and cuts the centre of `size` out of it;
    `resize_shorter` keeps the aspect.
    """

    size: Size | None = None
    padding: Annotated[float, Field(ge=0, le=2)] = 0.0
    keep_aspect: bool = False
    resize: Size | None = None
    resize_shorter: Annotated[int, Field(ge=1, le=8192)] | None = None
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    interpolation: Interpolation | None = None
    color_order: ColorOrder | None = None

    @model_validator(mode="after")
    def _centre_fits(self) -> Crop:
        if (
            self.resize_shorter is not None
            and self.size is not None
            and self.resize_shorter < max(self.size)
        ):
            raise ValueError(
                f"resize_shorter: {self.resize_shorter} is smaller than the crop "
                f"{list(self.size)}; raise it"
            )
        if (
            self.resize is not None
            and self.size is not None
            and any(a < b for a, b in zip(self.resize, self.size, strict=True))
        ):
            raise ValueError(
                f"resize: {list(self.resize)} is smaller than the crop {list(self.size)}; raise it"
            )
        chosen = {
            "keep_aspect": self.keep_aspect,
            "resize": self.resize,
            "resize_shorter": self.resize_shorter,
        }
        if len(said := [key for key, value in chosen.items() if value]) > 1:
            raise ValueError(f"{' and '.join(said)} exclude each other; leave one out")
        return self


class Classifier(_Section):
    """What is asked about each box. `labels`, `crop` and `normalize` may be left out where the
    weights say them.

    `prototypes` is a .npy of [labels, D], one vector a label, for weights that give an embedding
    [B, D]: what the activation gets are cosine similarities, times `logit_scale` (100 in CLIP;
    `activation: none` gives the cosines).
    """

    name: Annotated[Name, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    weights: Weights
    labels: Labels | None = None
    only: list[Name] | None = None
    activation: Activation | None = None
    threshold: Fraction | None = None
    prototypes: Path | None = None
    logit_scale: Annotated[float, Field(gt=0, le=1000)] | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 5
    crop: Crop = Crop()
    normalize: Normalize | None = None

    @field_validator("name")
    @classmethod
    def _free_name(cls, name: str) -> str:
        # `class_ids` is the detector's, `candidate_scores` and `<other>_label_ids` travel between
        # the stages.
        if name in ("class", "candidate") or name.endswith("_label"):
            raise ValueError(
                f"its output {name}_ids or {name}_scores is the name of another tensor; "
                "choose another"
            )
        return name

    @model_validator(mode="after")
    def _threshold_of_sigmoid(self) -> Classifier:
        if self.threshold is not None and self.activation == "softmax":
            raise ValueError(
                "threshold: belongs to `activation: sigmoid`; leave it out or change the activation"
            )
        return self

    @model_validator(mode="after")
    def _scale_of_prototypes(self) -> Classifier:
        if self.logit_scale is not None and (self.prototypes is None or self.activation == "none"):
            raise ValueError(
                "logit_scale: belongs to `prototypes:` with softmax or sigmoid; leave it out"
            )
        return self


class Tolerances(_Section):
    """How far the exported stages may be from the source before nothing is published; left out, by
    the precision.

    `pixels`: mean difference of a preprocessed image, of 255. `outputs`: distance of the raw
    outputs, of their length (Euclidean norms). `iou`, `score`: what makes two detections the same.
    `agreement`: the share of detections, and of best labels, that must be the same. `accuracy`:
    what mAP, or top-1, may lose on the labelled set of `--data`.
    """

    pixels: Annotated[float, Field(ge=0, le=255)] | None = None
    outputs: Annotated[float, Field(ge=0)] | None = None
    iou: Fraction | None = None
    score: Fraction | None = None
    agreement: Fraction | None = None
    accuracy: Fraction | None = None


Count = Annotated[int, Field(ge=1, le=64)]
MaxQueue = Annotated[int, Field(ge=0, le=10_000)]
MaxWait = Annotated[int, Field(ge=1, le=3_600_000)]


class Serving(_Section):
    """How many processes and threads serve it; what is left out follows the cores.
    `boxwise perf tune` finds them.

    `instances` of the stages by name: preprocess, detector, nms, classifier_<name>, whole_picture,
    glued, fused. `threads` of each network's run on the CPU. `in_flight`: requests of one glued
    instance at once; left out, 2 where the networks have the same cores, 4 on a GPU.
    `queue_delay_us`: how long a network waits for a batch to fill, in the targets that batch.
    `max_queue`: requests that may wait in each process, beside those that it works on; the next is
    refused at once. `max_wait_ms`: how long one may wait; who would wait longer is refused at once.
    `response_cache`: whether an image that comes again is answered from memory, where the server
    has some for it (`boxwise serve --response-cache MB`).
    """

    instances: dict[str, Count] = {}
    threads: Count | None = None
    in_flight: Count | None = None
    queue_delay_us: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    max_queue: MaxQueue | None = None
    max_wait_ms: MaxWait | None = None
    response_cache: bool = False


class Pipeline(_Section):
    """A whole pipeline file; either half is optional, not both.

    `layout` is how the stages become models: `ensemble`, each by itself; `glued`, one that calls
    the networks; `fused`, one with the networks inside, for CPUs.

    An image is refused with more than `max_megapixels`, a file with more than `max_megabytes` (10^6
    of each), and a image with one side over `max_aspect` times the other, which no camera makes: 1
    x 4,000 is still answered.
    """

    name: Name = "boxwise"
    layout: Layout = "ensemble"
    serving: Serving = Serving()
    detector: Detector | None = None
    classifiers: list[Classifier] = []
    max_megapixels: Annotated[float, Field(gt=0, le=200)] = 25.0
    max_megabytes: Annotated[float, Field(gt=0, le=1000)] = 50.0
    max_aspect: Annotated[float, Field(ge=1)] = 10_000.0
    tolerances: Tolerances = Tolerances()

    @field_validator("name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError("expected a letter, then letters, digits, _ or -")
        if name.endswith(STAGE_SUFFIXES):
            raise ValueError(
                f"ends like one of its own stages ({', '.join(STAGE_SUFFIXES)}); choose another"
            )
        return name

    @model_validator(mode="after")
    def _makes_sense(self) -> Pipeline:
        if self.detector is None and not self.classifiers:
            raise ValueError("expected a detector, classifiers or both; found neither")
        if self.classifiers and self.detector and self.detector.canvas.scaled_decoding:
            raise ValueError(
                "detector.canvas.scaled_decoding: classifiers are cut out of the whole "
                "image; leave it out"
            )
        names = [classifier.name for classifier in self.classifiers]
        stages = ["preprocess", "detector", "nms"] if self.detector else ["whole_picture"]
        stages += [*(f"classifier_{name}" for name in names), "glued", "fused"]
        if unknown := [name for name in self.serving.instances if name not in stages]:
            raise ValueError(
                f"serving.instances.{unknown[0]}: there is no such stage; there are "
                f"{', '.join(stages)}"
            )
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"classifiers: two are named {repeated[0]}; rename one")
        for classifier in self.classifiers:
            if classifier.only is not None and self.detector is None:
                raise ValueError(
                    f"classifiers.{classifier.name}.only: there is no detector whose "
                    "classes it names; leave it out"
                )
            if classifier.only == []:
                raise ValueError(
                    f"classifiers.{classifier.name}.only: empty, so it is never asked; "
                    "leave it out to ask about all"
                )
        return self


def load_pipeline(path: Path) -> Pipeline:
    """Read a pipeline file; paths in it are relative to its folder.

    Raises:
        PipelineError: there is no such file, it is not YAML, or a key is wrong; says which and what
            was expected.
    """
    try:
        document = load_yaml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise PipelineError(
            f"{path}: no such file; `boxwise init` writes one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise PipelineError(f"{path}: not valid YAML: {_one_line(str(error))}") from error
    if not isinstance(document, Mapping):
        raise PipelineError(
            f"{path}: expected keys such as `detector:` and `classifiers:`; `boxwise init` "
            "shows them"
        )
    try:
        pipeline = Pipeline.model_validate(document)
    except ValidationError as error:
        raise PipelineError(
            f"{path}: " + "; ".join(_sentence(e) for e in error.errors())
        ) from error
    return _resolve_paths(pipeline, path.parent)


def _resolve_paths(pipeline: Pipeline, folder: Path) -> Pipeline:
    def resolved(part: Any) -> Any:
        labels = part.labels
        if isinstance(labels, str) and Path(labels).suffix:
            labels = str(folder / labels)
        weights = part.weights
        if weights.file is not None:
            weights = weights.model_copy(update={"file": folder / weights.file})
        files = {
            key: folder / path
            for key in ("anchors", "prototypes")
            if (path := getattr(part, key, None)) is not None
        }
        return part.model_copy(update={"weights": weights, "labels": labels, **files})

    return pipeline.model_copy(
        update={
            "detector": resolved(pipeline.detector) if pipeline.detector else None,
            "classifiers": [resolved(classifier) for classifier in pipeline.classifiers],
        }
    )


def _sentence(error: Any) -> str:
    """One pydantic error as "key: what was expected, what came"."""
    key = ".".join(str(part) for part in error["loc"])
    prefix = f"{key}: " if key else ""
    match error["type"]:
        case "extra_forbidden":
            return f"{prefix}unknown key{_nearest(error['loc'])}; remove it or correct its name"
        case "missing":
            return f"{prefix}missing; add it"
        case "value_error":
            return prefix + str(error["ctx"]["error"])
        case _:
            message = error["msg"][0].lower() + error["msg"][1:]
            return f"{prefix}{message}, got {error['input']!r:.200}"


def _nearest(location: tuple[str | int, ...]) -> str:
    """The key that was probably meant."""
    import difflib

    sections: dict[str, type[BaseModel]] = {
        "detector": Detector, "classifiers": Classifier, "canvas": Canvas, "crop": Crop,
        "normalize": Normalize, "weights": Weights, "tensors": Tensors, "nms": Nms,
        "tolerances": Tolerances, "serving": Serving,
    }  # fmt: skip
    parents = [part for part in location[:-1] if isinstance(part, str)]
    section = sections.get(parents[-1], Pipeline) if parents else Pipeline
    close = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
