"""Bring changes of a repository into a running server, without a failed request or a mixed
response.

The server serves a folder of its own. A stage's name in it ends with a digest of its files, so that
old and new stages are loaded side by side, each with its own configuration: Triton 2.51 has one
configuration for all versions of a model, and would run the old version with the new one's
thresholds and shapes. The models that clients call keep their names and are reloaded, which is
atomic in Triton: requests in flight end on the models that they started with.
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

from boxwise_contract.tensors import DETECTIONS
from boxwise_export.errors import ExportError, RepositoryError
from boxwise_export.repository.atomic_dir import share, write_file
from boxwise_export.repository.configs import read_config
from boxwise_export.repository.manifest import Manifest, Revision, read_manifests
from boxwise_export.repository.revisions import place
from boxwise_runtime.fitting import NotEnoughMemory, fitter
from boxwise_runtime.resources import available
from boxwise_runtime.targets import EMBEDDED, Target
from boxwise_runtime.warmup import IMAGE

_CALL_S = 600.0  # loading a model may take long
_DRAIN_S = 60.0  # for requests in flight on the old models, before they are unloaded
_POLL_S = 0.2


class LoadRefused(ExportError):
    """A revision was not brought into service; the one before still serves."""


@dataclass(frozen=True)
class Server:
    """The HTTP endpoint of a server with model control.

    Attributes:
        url: http://HOST:PORT.
        headers: that authorise model control.
    """

    url: str
    headers: Mapping[str, str]

    def load(self, model: str) -> None:
        """Load or reload a model from its folder; if that fails, the loaded one stays.

        Raises:
            LoadRefused: it cannot be loaded; has the reason.
        """
        try:
            self._post(f"v2/repository/models/{model}/load", {})
        except urllib.error.HTTPError as error:
            raise LoadRefused(_sentence(error)) from error
        except ConnectionResetError as error:
            raise LoadRefused(f"the server ended while it loaded {model}") from error

    def unload(self, model: str) -> None:
        """Unload a model once its requests in flight have ended; do nothing if it is not loaded."""
        self._post(f"v2/repository/models/{model}/unload", {})

    def ask(self, model: str, file: bytes) -> dict[str, list[int]]:
        """Return the shapes of a model's outputs for an image.

        Raises:
            LoadRefused: the request failed; has the reason.
        """
        image = {"name": "image", "shape": [len(file)], "datatype": "UINT8", "data": list(file)}
        try:
            reply = self._post(f"v2/models/{model}/infer", {"inputs": [image]})
        except urllib.error.HTTPError as error:
            raise LoadRefused(_sentence(error)) from error
        return {output["name"]: output["shape"] for output in reply["outputs"]}

    def wait_for_drain(self, models: Iterable[str]) -> None:
        """Wait until no request is in flight on the models from before the reload, at most a
        minute.
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
    """Keep a server at the current state of a repository.

    Attributes:
        repository: as `boxwise export` writes it.
        folder: of its own; the server serves `models` in it.
        target: whose configurations are served.
    """

    repository: Path
    folder: Path
    target: Target = EMBEDDED
    _served: dict[str, Revision] = field(default_factory=dict)
    _refused: dict[str, Revision] = field(default_factory=dict)  # are not tried again

    @property
    def models(self) -> Path:
        """The folder that the server serves."""
        return self.folder / "models"

    def prepare(self) -> None:
        """Fill the folder, before the server starts."""
        self.models.mkdir(parents=True, exist_ok=True)
        for name, manifest in read_manifests(self.repository).items():
            for model, live in _live_names(name, manifest.revision()).items():
                self._write(manifest, model, live)
            self._served[name] = manifest.revision()

    def follow(self, server: Server, say: Callable[[str], None]) -> None:
        """Bring changes since the last call into service; yield what was done, or why not.

        Raises:
            OSError: the server cannot be reached; the rest is done by the next call.
        """
        # For an instant, on file systems that cannot exchange two folders.
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
        """Load the new stages, test a candidate of the pipeline, reload the models that clients
        call, unload the old stages.
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
        """Reload the models that clients call; if one fails, restore all of them."""
        whole = manifest.pipeline
        raw, info = f"{whole}_raw", f"{whole}_info"
        replaced: list[str] = []
        try:
            # Where frames go through the model for files, Triton takes it out of service while the
            # two do not fit; meanwhile they go through the candidate.
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
        """Return the revision's warm-up image; None if an older boxwise exported it."""
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
        """Write one model of the current revision under its live name.

        Args:
            manifest: of the pipeline.
            model: its name in the repository.
            live: its name in the server.
            through: the model that takes files, as a step of others (default: itself).
            keep: whether to keep a copy of what was there.
        """
        revision = manifest.revision()
        names, version = _live_names(manifest.pipeline, revision), revision.models[model]
        names[manifest.pipeline] = through or manifest.pipeline
        source = place(self.repository, manifest.pipeline, model) / str(version)
        own = source / self.target.config
        config = read_config(own if own.exists() else source / "config.pbtxt")
        config.name = live
        # What clients call has the revision's number for a version: so a response shows which
        # labels are its own.
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
        """Fit a configuration to this machine.

        Raises:
            RepositoryError: the repository does not fit into memory.
        """
        try:
            return fitter(self.repository, available())(text)
        except NotEnoughMemory as error:
            raise RepositoryError(f"{self.repository}: {error}") from error


def _public(pipeline: str) -> tuple[str, str, str]:
    """Return the models that clients call."""
    return f"{pipeline}_info", pipeline, f"{pipeline}_raw"


def _live_names(pipeline: str, revision: Revision) -> dict[str, str]:
    """Return the name of each model in the server: its own, and a stage's with its digest."""
    return {
        model: model
        if model in _public(pipeline)
        else f"{model}.{_digest(revision.digests[model])}"
        for model in revision.models
    }


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:8]


def _check(shapes: Mapping[str, Sequence[int]], model: str) -> None:
    """Check a response against the contract.

    Raises:
        LoadRefused: names the output that is missing or has another shape.
    """
    missing = [each.name for each in DETECTIONS if each.name not in shapes]
    if missing:
        raise LoadRefused(f"{model} returns no {missing[0]!r}; export it again")
    count = shapes["scores"][0]
    for name, shape in shapes.items():
        if shape[0] != (2 if name == "image_size" else count):
            raise LoadRefused(
                f"{model} returns {name} {list(shape)} beside {count} scores; export it again"
            )


def _sentence(error: urllib.error.HTTPError) -> str:
    """Return Triton's reason, without the traceback."""
    try:
        text = str(json.load(error)["error"])
    except (ValueError, KeyError):
        text = str(error)
    return text.partition("\n")[0].strip()
