"""The pipeline file: what a person writes, checked, with errors that name the key and the fix."""

from __future__ import annotations

import re
import warnings
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
from boxwise_export.repository.serving_config import Layout
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
    # The string below a field describes it in docs/reference/pipeline-file.md.
    model_config = ConfigDict(extra="forbid", frozen=True)


class Weights(_Section):
    """A checkpoint: `file`, `source`, or both.

    Text is accepted in place of this section: a path is `file`, a text such as "timm:resnet18" is
    `source`.
    """

    file: Path | None = None
    """An ONNX file (.onnx), a TensorFlow.js graph model (.json), a PyTorch checkpoint (.pt, .pth),
    or a folder of Hugging Face transformers.
    """
    source: Annotated[str, Field(pattern=rf"^({'|'.join(FRAMEWORKS)}):.+$")] | None = None
    """A model of a framework: `torchvision:NAME`, `timm:NAME` or `ultralytics:NAME.yaml`. Without
    `file`, the framework's own weights are used.
    """
    trust_pickle: bool = False
    """Read a file that can run code when it is read, such as a checkpoint that ultralytics saved.
    """
    architecture: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")] | None = None
    """The function that builds the network of a PyTorch checkpoint, as `package.module:factory`."""
    arguments: list[Any] = []
    """Positional arguments of `architecture`."""
    outputs: list[str] | None = None
    """Keep only these outputs of the graph. Unset: all."""

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
    """Normalisation inside the graph: (x - mean) / std for each channel, in units of 0 to 255.

    One number stands for all three channels.
    """

    mean: Channels = (0.0, 0.0, 0.0)
    """Subtracted from each channel."""
    std: Channels = (1.0, 1.0, 1.0)
    """Divides each channel."""

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
    """How an image is placed on the detector's input. Unset keys follow the weights' metadata, then
    the detector family.
    """

    size: Size | None = None
    """Side of the canvas in pixels, or [height, width]. Only where the graph accepts any size."""
    resize: Resize | None = None
    """`letterbox` keeps the aspect and centres the image, `letterbox_top_left` puts it into the
    corner, `stretch` fills the canvas.
    """
    pad_value: Annotated[int, Field(ge=0, le=255)] | None = None
    """Grey level around a letterboxed image."""
    interpolation: Interpolation | None = None
    """How pixels are resampled."""
    color_order: ColorOrder | None = None
    """Order of the channels that the network expects."""
    scaled_decoding: bool = False
    """Decode a JPEG of at least twice the canvas at a half, a quarter or an eighth of its size.
    Faster; boxes differ slightly. Without classifiers only, since crops need all pixels.
    """


class TensorNames(_Section):
    """Which outputs of the graph hold decoded boxes (family `generic`).

    Name either `boxes` and `scores` (and `classes`), or one output `rows` and its `columns`.
    """

    boxes: str | None = None
    """Output with the boxes, [B, N, 4] in `box_format`."""
    scores: str | None = None
    """Output with the scores, [B, N] or [B, N, C]."""
    classes: str | None = None
    """Output with the classes, [B, N]. Required where scores are [B, N] and there are several
    classes.
    """
    rows: str | None = None
    """One output with everything, [B, N, columns] or [N, columns]."""
    columns: list[str] | None = None
    """Names of the columns of `rows`, in order: x1 y1 x2 y2, or cx cy w h, or x y w h; score;
    class; batch (the index of the image); skip for any other.
    """
    box_format: BoxFormat = "xyxy"
    """Format of `boxes`."""
    units: Literal["pixels", "fraction"] = "pixels"
    """Whether boxes are in pixels of the canvas or fractions of it."""
    nms: bool = True
    """Whether NMS is still to be done. Set `false` where the graph does it."""

    @model_validator(mode="after")
    def _one_way(self) -> TensorNames:
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
    def _whole_columns(self) -> TensorNames:
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
    """Non-maximum suppression."""

    multi_label: bool | None = None
    """Whether a cell gives a box for every class above the threshold (`true`) or only for its best
    class (`false`). Unset: as the predict function of the family's authors.
    """
    class_agnostic: bool = False
    """Whether a box suppresses boxes of every class, or only of its own."""


class Detector(_Section):
    """The network that finds the objects."""

    weights: Weights
    """The checkpoint."""
    family: str | None = None
    """How the outputs are decoded, such as `yolox`. Unset: recognised from the graph's outputs."""
    tensors: TensorNames | None = None
    """Which outputs hold what, for the family `generic`."""
    anchors: Path | None = None
    """A .npy file of [N, 4] anchors, xyxy in pixels of the canvas, for `ssd` and `retinanet`."""
    labels: Labels | None = None
    """Class names: a known set (`coco`, `coco91`, `imagenet`), a file, or a list. Unset: from the
    weights.
    """
    activation: Activation | None = None
    """What makes scores of the class columns; `none` where they are scores already. Unset: read
    from the values, or asked for.
    """
    background: Background | None = None
    """Which class column is not an object. Where the graph returns class numbers, `first` means
    that they count from 1. Unset: read from names and values, or asked for.
    """
    nms: Nms = Nms()
    """How overlapping boxes are merged."""
    score_threshold: Fraction = 0.25
    """Minimum score of a detection. A request can override it."""
    iou_threshold: Fraction = 0.5
    """Of two boxes of one class whose IoU exceeds this, the better one stays. A request can
    override it.
    """
    max_detections: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = 100
    """Maximum number of detections per image. A request can only lower it."""
    candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] | None = None
    """How many boxes leave the graph for NMS. Unset: 1000, or as many as the network has."""
    canvas: Canvas = Canvas()
    """How an image becomes the network's input."""
    normalize: Normalize | None = None
    """Normalisation of the input. Unset: from the weights, then the family."""
    max_batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Maximum batch, on the targets that batch requests."""

    @model_validator(mode="after")
    def _enough_candidates(self) -> Detector:
        if self.candidates is not None and self.candidates < self.max_detections:
            raise ValueError(
                f"candidates: {self.candidates} cannot fill max_detections: "
                f"{self.max_detections}; raise the former"
            )
        return self


class Crop(_Section):
    """How a region of the image becomes the classifier's input.

    `keep_aspect`, `resize` and `resize_shorter` exclude each other; without any, the region is
    stretched to `size`.
    """

    size: Size | None = None
    """Side of the input in pixels, or [height, width]. Unset: from the graph or the weights."""
    padding: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Context around a box, as a fraction of its sides."""
    keep_aspect: bool = False
    """Letterbox the region instead of stretching it."""
    resize: Size | None = None
    """Stretch the region to this size, then cut the centre of `size`."""
    resize_shorter: Annotated[int, Field(ge=1, le=8192)] | None = None
    """Resize the shorter side to this, then cut the centre of `size`."""
    pad_value: Annotated[int, Field(ge=0, le=255)] = 114
    """Grey level around a letterboxed region."""
    interpolation: Interpolation | None = None
    """How pixels are resampled. Unset: from the weights."""
    color_order: ColorOrder | None = None
    """Order of the channels that the network expects. Unset: from the weights."""

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
    """A network that runs on each detected object, or on the whole image without a detector."""

    name: Annotated[Name, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    """Names its outputs, `<name>_ids` and `<name>_scores`: a lower-case letter, then letters,
    digits and _.
    """
    weights: Weights
    """The checkpoint."""
    labels: Labels | None = None
    """Label names: a known set, a file, or a list. Unset: from the weights."""
    only: list[Name] | None = None
    """Detector classes that it runs on. Unset: all."""
    activation: Activation | None = None
    """`softmax` gives one label, `sigmoid` several, `none` uses the graph's own scores. Unset:
    read from the graph or its values, or asked for.
    """
    threshold: Fraction | None = None
    """Minimum score of a label, for `sigmoid`."""
    prototypes: Path | None = None
    """A .npy file of [labels, D], one vector per label, for weights that return an embedding [B,
    D]. Scores are cosine similarities.
    """
    logit_scale: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Factor of the cosine similarities before softmax or sigmoid. Unset: 100, as in CLIP."""
    top_k: Annotated[int, Field(ge=1, le=1000)] = 5
    """Labels per box."""
    crop: Crop = Crop()
    """How a region becomes the network's input."""
    normalize: Normalize | None = None
    """Normalisation of the input. Unset: from the weights."""

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
    """Maximum allowed difference between the exported stages and the source. Nothing is published
    beyond it. Unset keys depend on the precision.
    """

    pixels: Annotated[float, Field(ge=0, le=255)] | None = None
    """Mean difference of a preprocessed image, of 255."""
    outputs: Annotated[float, Field(ge=0)] | None = None
    """Distance of the raw outputs divided by their length (Euclidean norms)."""
    iou: Fraction | None = None
    """Minimum IoU of two detections that count as the same."""
    score: Fraction | None = None
    """Maximum score difference of two detections that count as the same."""
    agreement: Fraction | None = None
    """Minimum share of detections, and of best labels, that are the same."""
    accuracy: Fraction | None = None
    """What mAP or top-1 may lose on the labelled set of `--data`."""


Count = Annotated[int, Field(ge=1, le=64)]
MaxQueue = Annotated[int, Field(ge=0, le=10_000)]
MaxWait = Annotated[int, Field(ge=1, le=3_600_000)]


class Serving(_Section):
    """Worker processes, threads and queues. Unset keys follow the cores of the machine that serves;
    `boxwise perf tune` finds good values.
    """

    instances: dict[str, Count] = {}
    """Instances of a stage, by its name: preprocess, detector, nms, classifier_<name>,
    whole_picture, bls, fused. Unset: one per core for heavy stages, at most 8.
    """
    threads: Count | None = None
    """Threads of each network on the CPU. Unset: the cores that instances leave."""
    in_flight: Count | None = None
    """Requests that one `bls` instance processes concurrently. Unset: 2 where the networks use
    the same cores, 4 on a GPU.
    """
    queue_delay_us: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Microseconds that a network waits for a batch to fill, on the targets that batch. Unset: the
    template's.
    """
    max_queue: MaxQueue | None = None
    """Queued requests per worker process; further ones are rejected. Unset: 64."""
    max_wait_ms: MaxWait | None = None
    """Maximum time in the queue; a request that would wait longer is rejected. Unset: 10000."""
    response_cache: bool = False
    """Whether responses to repeated images come from memory, if the server has some for it
    (`boxwise serve --response-cache MB`).
    """


class Pipeline(_Section):
    """A whole pipeline file. It needs a detector, classifiers, or both."""

    name: Name = "boxwise"
    """The model that clients call. Several pipelines can share a repository."""
    layout: Layout = "ensemble"
    """How stages become Triton models: `ensemble`, one model per stage; `bls`, one model that
    calls the networks; `fused`, one model with the networks inside, for CPUs.
    """
    serving: Serving = Serving()
    """Worker processes, threads and queues."""
    detector: Detector | None = None
    """The detector. Unset: classifiers run on the whole image."""
    classifiers: list[Classifier] = []
    """The classifiers, in the order of their outputs."""
    max_megapixels: Annotated[float, Field(gt=0, le=200)] = 25.0
    """Larger images are rejected, from their header; in 10^6 pixels."""
    max_megabytes: Annotated[float, Field(gt=0, le=1000)] = 50.0
    """Larger files are rejected; in 10^6 bytes."""
    max_aspect: Annotated[float, Field(ge=1)] = 10_000.0
    """Images with one side longer than the other by this factor are rejected."""
    tolerances: Tolerances = Tolerances()
    """Limits of the parity gate."""

    @model_validator(mode="before")
    @classmethod
    def _accept_glued(cls, document: Any) -> Any:
        """Read `glued`, the name of `bls` in boxwise 0.1, for one release."""
        if not isinstance(document, dict):
            return document
        document = dict(document)
        if document.get("layout") == "glued":
            _warn_glued("layout: glued", "layout: bls")
            document["layout"] = "bls"
        serving = document.get("serving")
        instances = serving.get("instances") if isinstance(serving, dict) else None
        if isinstance(instances, dict) and "glued" in instances:
            _warn_glued("serving.instances.glued", "serving.instances.bls")
            rest = {name: count for name, count in instances.items() if name != "glued"}
            document["serving"] = {**serving, "instances": {"bls": instances["glued"], **rest}}
        return document

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
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"classifiers: two are named {repeated[0]}; rename one")
        self._check_instances(names)
        self._check_only()
        return self

    def _check_instances(self, classifiers: list[str]) -> None:
        stages = ["preprocess", "detector", "nms"] if self.detector else ["whole_picture"]
        stages += [*(f"classifier_{name}" for name in classifiers), "bls", "fused"]
        if unknown := [name for name in self.serving.instances if name not in stages]:
            raise ValueError(
                f"serving.instances.{unknown[0]}: there is no such stage; there are "
                f"{', '.join(stages)}"
            )

    def _check_only(self) -> None:
        for classifier in self.classifiers:
            if classifier.only is not None and self.detector is None:
                raise ValueError(
                    f"classifiers.{classifier.name}.only: there is no detector whose "
                    "classes it names; leave it out"
                )
            if classifier.only == []:
                raise ValueError(
                    f"classifiers.{classifier.name}.only: empty, so it would never run; leave it "
                    "out to run on all"
                )


def _warn_glued(found: str, expected: str) -> None:
    warnings.warn(
        f"{found}: this layout is called bls now, and the next release does not know the old "
        f"name; write {expected}",
        FutureWarning,
        stacklevel=2,
    )


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
        "normalize": Normalize, "weights": Weights, "tensors": TensorNames, "nms": Nms,
        "tolerances": Tolerances, "serving": Serving,
    }  # fmt: skip
    parents = [part for part in location[:-1] if isinstance(part, str)]
    section = sections.get(parents[-1], Pipeline) if parents else Pipeline
    close = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
