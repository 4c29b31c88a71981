"""A Dockerfile, and its steps executed on this machine, in a folder that stands for the image's
root.

The base image is a fresh environment of this Python; paths of the image are mapped into the folder.
A COPY from an earlier stage takes nothing else of that stage along: what is not copied is deleted,
so that a step that needs it fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from helm_support.chart import ROOT


class Step(NamedTuple):
    """One instruction, its continuation lines joined."""

    stage: int
    word: str
    rest: str


def read(path: Path) -> list[Step]:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    steps: list[Step] = []
    stage = -1  # before the first FROM: arguments of the FROMs
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.strip().partition(" ")
        stage += word == "FROM"
        steps.append(Step(stage, word, " ".join(rest.split())))
    return steps


@dataclass
class Image:
    """A root folder in which steps are executed.

    Attributes:
        root: stands for /.
        replaced: texts in RUN steps and what they are here.
    """

    root: Path
    replaced: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.base = self.root / "base"
        subprocess.run([sys.executable, "-m", "venv", self.base], check=True)
        self.variables: dict[str, str] = {}
        self.workdir = self.root
        self.entrypoint: list[str] = []
        self.user = ""

    @property
    def environment(self) -> dict[str, str]:
        own = {key: self._here(value) for key, value in self.variables.items()}
        path = own.pop("PATH", "$PATH").replace("$PATH", f"{self.base / 'bin'}:/usr/bin:/bin")
        kept = {
            key: value
            for key, value in os.environ.items()
            if key.startswith(("PIP_", "LD_")) or key == "LANG"
        }
        return {"HOME": str(self.root), **kept, **own, "PATH": path}

    def _here(self, text: str) -> str:
        return re.sub(
            r"(?<![\w.])/(opt/boxwise|tmp)(?=[/:\s]|$)",
            lambda match: f"{self.root}/{match[1]}",
            text,
        )

    def execute(self, steps: list[Step]) -> list[str]:
        """Run every step; returns the words of those that were executed."""
        done = []
        for step in steps:
            getattr(self, f"_{step.word.lower()}")(step.rest)
            done.append(step.word)
        return done

    def _from(self, rest: str) -> None:
        self.variables = {}

    def _arg(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.variables[name] = value

    def _env(self, rest: str) -> None:
        for pair in rest.split():
            name, _, value = pair.partition("=")
            self.variables[name] = value

    def _workdir(self, rest: str) -> None:
        self.workdir = self.root / rest.lstrip("/")
        self.workdir.mkdir(parents=True, exist_ok=True)

    def _user(self, rest: str) -> None:
        self.user = rest

    def _entrypoint(self, rest: str) -> None:
        self.entrypoint = json.loads(rest)

    def _copy(self, rest: str) -> None:
        options = [word for word in rest.split() if word.startswith("--")]
        *sources, target = [word for word in rest.split() if not word.startswith("--")]
        if any(word.startswith("--from=") for word in options):
            assert sources == [target], "paths differ between stages"
            kept = {self.root / target.lstrip("/").split("/")[0], self.base}
            for each in self.root.iterdir():
                if each not in kept:
                    shutil.rmtree(each)
            self.workdir = self.root
            return
        for source in sources:
            into = Path(self._here(target)) if target.startswith("/") else self.workdir / target
            place = into / source if target in ("./", ".") else into
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / source, place)
            for option in options:
                place.chmod(int(option.removeprefix("--chmod="), 8))

    def _run(self, rest: str) -> None:
        for there, here in self.replaced.items():
            rest = rest.replace(there, here)
        done = subprocess.run(
            ["/bin/sh", "-c", rest],
            cwd=self.workdir,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
