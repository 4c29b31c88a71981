"""What changes in a repository goes live in a server that runs, without a failed request and
without a mixed reply.

The server is given a folder of its own that holds what is served. A stage's name in it says what is
in it, so that old and new are loaded side by side, each with its own configuration: Triton 2.51 has
one for all versions of a model, and would run the old version with the new one's thresholds and
shapes. What clients call keeps its name and is reloaded, which Triton does at once: what is in
flight ends on what it began with.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from boxwise_contract import DETECTIONS
from boxwise_export.errors import ExportError, RepositoryError
from boxwise_export.repository.atomic_dir import share, write_file
from boxwise_export.repository.configs import read_config
from boxwise_export.repository.manifest import Manifest, Revision, read_manifests
from boxwise_export.repository.revisions import place
from boxwise_runtime.fitting import NotEnoughMemory, fitter
from boxwise_runtime.resources import available
from boxwise_runtime.targets import EMBEDDED, Target
from boxwise_runtime.warmup import IMAGE

_CALL_S = 600.0  # a model may take long to load
_DRAIN_S = 60.0  # what was in flight on the old models gets, before they are unloaded
_POLL_S = 0.2


class LoadRefused(ExportError):
    """A revision was not taken into service; what served before goes on."""


@dataclass(frozen=True)
class Server:
    """The HTTP endpoint of a server whose models can be changed.

    Attributes:
        url: http://HOST:PORT.
        headers: what opens its model control.
    """

    url: str
    headers: Mapping[str, str]

    def load(self, model: str) -> None:
        """Load or reload a model as its folder has it; what is loaded stays where that fails.

        Raises:
            LoadRefused: it cannot be loaded, and why.
        """
        try:
            self._post(f"v2/repository/models/{model}/load", {})
        except urllib.error.HTTPError as error:
            raise LoadRefused(_sentence(error)) from error
        except ConnectionResetError as error:
            raise LoadRefused(f"the server ended while it loaded {model}") from error

    def unload(self, model: str) -> None:
        """Unload a model, when what is in flight on it has ended; of one that is not loaded nothing
        happens.
        """
        self._post(f"v2/repository/models/{model}/unload", {})

    def ask(self, model: str, file: bytes) -> dict[str, list[int]]:
        """The shapes of what a model answers to an image.

        Raises:
            LoadRefused: it cannot answer, and why.
        """
        image = {"name": "image", "shape": [len(file)], "datatype": "UINT8", "data": list(file)}
        try:
            reply = self._post(f"v2/models/{model}/infer", {"inputs": [image]})
        except urllib.error.HTTPError as error:
            raise LoadRefused(_sentence(error)) from error
        return {output["name"]: output["shape"] for output in reply["outputs"]}

    def wait_for_drain(self, models: Iterable[str]) -> None:
        """Wait until nothing is in flight on what these models were before their reload; a minute
        at most.
        """
        deadline = time.monotonic() + _DRAIN_S
        names = set(models)
        while time.monotonic() < deadline:
            index = self._post("v2/repository/index", {})
            if not any(
                each["name"] in names and each.get("state") == "UNLOADING" for each in index
            ):
                return
            time.sleep(_POLL_S)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        url, data = f"{self.url}/{path}", json.dumps(body).encode()
        request = urllib.request.Request(url, data, dict(self.headers))  # noqa: S310
        with urllib.request.urlopen(request, timeout=_CALL_S) as reply:  # noqa: S310 (ours)
            text = reply.read()
        return json.loads(text) if text else {}


@dataclass
class Rollout:
    """Keeps what a server serves at what a repository has.

    Attributes:
        repository: as `boxwise export` writes it.
        folder: a folder of its own; `models` in it is what the server is given.
        target: whose configurations are served.
    """

    repository: Path
    folder: Path
    target: Target = EMBEDDED
    _served: dict[str, Revision] = field(default_factory=dict)
    _refused: dict[str, Revision] = field(default_factory=dict)  # not tried again

    @property
    def models(self) -> Path:
        """What the server is given."""
        return self.folder / "models"

    def prepare(self) -> None:
        """Fill the folder, before the server starts."""
        self.models.mkdir(parents=True, exist_ok=True)
        for name, manifest in read_manifests(self.repository).items():
            for model, live in _live_names(name, manifest.revision()).items():
                self._write(manifest, model, live)
            self._served[name] = manifest.revision()

    def follow(self, server: Server, say: Callable[[str], None]) -> None:
        """Bring into service what changed since the last time, and say so, or why not.

        Raises:
            OSError: the server cannot be asked now; what is left to be done is done the next time.
        """
        # For an instant, where a file system cannot exchange two folders.
        if not self.repository.is_dir():
            return
        manifests = read_manifests(self.repository)
        for name in [name for name in self._served if name not in manifests]:
            self._retire(server, _live_names(name, self._served[name]).values())
            del self._served[name]
            say(f"{name}: not in the repository any more, and not served")
        for name, manifest in manifests.items():
            revision, before = manifest.revision(), self._served.get(name)
            if revision in (before, self._refused.get(name)):
                continue
            try:
                self._go_live(server, manifest, before)
            except LoadRefused as error:
                self._refused[name] = revision
                goes_on = f"revision {before.number} goes on" if before else "it is not served"
                say(f"{name}: revision {revision.number} is refused, and {goes_on}: {error}")
            else:
                self._refused.pop(name, None)
                say(f"{name}: revision {revision.number} is live")

    def _go_live(self, server: Server, manifest: Manifest, before: Revision | None) -> None:
        """Load the new stages, ask a candidate of the pipeline, reload what clients call, unload
        the old stages.
        """
        name, public = manifest.pipeline, _public(manifest.pipeline)
        old, new = (
            set(_live_names(name, each).values()) if each else set()
            for each in (before, manifest.revision())
        )
        candidate = f"{name}.candidate"
        added = [candidate, *sorted(new - old - set(public))]
        try:
            for model, live in _live_names(name, manifest.revision()).items():
                if live in added:
                    self._write(manifest, model, live)
                    server.load(live)
            self._write(manifest, name, candidate)
            server.load(candidate)
            if file := self._image(manifest):
                _check(server.ask(candidate, file), candidate)
            self._reload(server, manifest, candidate)
        except (LoadRefused, OSError):
            self._retire(server, added if before else [*added, *public])
            raise
        self._served[name] = manifest.revision()
        server.wait_for_drain(public)
        self._retire(server, [candidate, *(old - new)])

    def _reload(self, server: Server, manifest: Manifest, candidate: str) -> None:
        """Reload what clients call; where one cannot be, all are again what they were."""
        whole = manifest.pipeline
        raw, info = f"{whole}_raw", f"{whole}_info"
        replaced: list[str] = []
        try:
            # Where frames go through the model for files, Triton takes it out of service while the
            # two do not fit: meanwhile they go through the candidate.
            for model, through in ((info, whole), (raw, candidate), (whole, whole), (raw, whole)):
                self._write(manifest, model, model, through=through, keep=model not in replaced)
                replaced.append(model)
                server.load(model)
        except (LoadRefused, OSError):
            before = [model for model in dict.fromkeys(replaced) if (self._aside / model).exists()]
            for model in before:
                shutil.rmtree(self.models / model)
                (self._aside / model).rename(self.models / model)
            for model in before:
                server.load(model)
            raise
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    @property
    def _aside(self) -> Path:
        return self.folder / "before"

    def _retire(self, server: Server, models: Iterable[str]) -> None:
        models = list(models)
        for model in models:  # first, so that a server that is started again does not load them
            shutil.rmtree(self.models / model, ignore_errors=True)
        for model in models:
            server.unload(model)

    def _image(self, manifest: Manifest) -> bytes | None:
        """What the revision is warmed up with; none where an older boxwise exported it."""
        versions = manifest.revision().models
        folders = (
            place(self.repository, manifest.pipeline, model) / str(versions[model])
            for model in versions
        )
        found = (
            path
            for folder in folders
            for path in (folder / IMAGE, *folder.glob(f"stages/*/{IMAGE}"))
        )
        return next((path.read_bytes() for path in found if path.exists()), None)

    def _write(
        self,
        manifest: Manifest,
        model: str,
        live: str,
        *,
        through: str | None = None,
        keep: bool = False,
    ) -> None:
        """Lay out one model of the current revision under its live name.

        Args:
            manifest: of the pipeline.
            model: as the repository calls it.
            live: as the server does.
            through: what stands for the model for files, as a step of another; left out, that model
                itself.
            keep: whether what was there before is put aside.
        """
        revision = manifest.revision()
        names, version = _live_names(manifest.pipeline, revision), revision.models[model]
        names[manifest.pipeline] = through or manifest.pipeline
        source = place(self.repository, manifest.pipeline, model) / str(version)
        own = source / self.target.config
        config = read_config(own if own.exists() else source / "config.pbtxt")
        config.name = live
        # What clients call has the revision's number for a version: so a reply says which labels
        # are its own.
        number = revision.number if live in _public(manifest.pipeline) else version
        config.version_policy.specific.versions[:] = [number]
        for step in config.ensemble_scheduling.step:
            if step.model_name == manifest.pipeline:
                step.model_version = (
                    revision.number if through in (None, manifest.pipeline) else version
                )
            step.model_name = names[step.model_name]
        for key, value in config.parameters.items():
            if key.startswith("models."):
                value.string_value = names[value.string_value]
        folder = self.models / live
        if keep and folder.exists():
            self._aside.mkdir(exist_ok=True)
            folder.rename(self._aside / live)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder / str(number), copy_function=share)
        write_file(folder / "config.pbtxt", self._fit(text_format.MessageToString(config)).encode())

    def _fit(self, text: str) -> str:
        """A configuration as this machine can serve it.

        Raises:
            RepositoryError: what the repository holds does not fit into the memory there is.
        """
        try:
            return fitter(self.repository, available())(text)
        except NotEnoughMemory as error:
            raise RepositoryError(f"{self.repository}: {error}") from error


def _public(pipeline: str) -> tuple[str, str, str]:
    """What clients call."""
    return f"{pipeline}_info", pipeline, f"{pipeline}_raw"


def _live_names(pipeline: str, revision: Revision) -> dict[str, str]:
    """What each model is called in the server: by its name, and a stage by what is in it."""
    return {
        model: model
        if model in _public(pipeline)
        else f"{model}.{_digest(revision.digests[model])}"
        for model in revision.models
    }


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:8]


def _check(shapes: Mapping[str, Sequence[int]], model: str) -> None:
    """Hold a reply to the contract.

    Raises:
        LoadRefused: says which output is missing or of another shape.
    """
    missing = [each.name for each in DETECTIONS if each.name not in shapes]
    if missing:
        raise LoadRefused(f"{model} answers without {missing[0]!r}; export it anew")
    count = shapes["scores"][0]
    for name, shape in shapes.items():
        if shape[0] != (2 if name == "image_size" else count):
            raise LoadRefused(
                f"{model} answers {name} {list(shape)} beside {count} scores; export it anew"
            )


def _sentence(error: urllib.error.HTTPError) -> str:
    """Triton's reason, without the traceback."""
    try:
        text = str(json.load(error)["error"])
    except (ValueError, KeyError):
        text = str(error)
    return text.partition("\n")[0].strip()
