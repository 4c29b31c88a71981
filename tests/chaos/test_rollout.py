"""What changes in a repository goes live under `boxwise serve --reload`, while requests arrive.

Four threads send files and frames, one after the other, from before the first change until after
the last. Revision 2 differs from revision 1 in its limit of boxes, its shapes and its classifier.
In turn: revision 2 goes live; a revision that cannot answer is refused; `boxwise rollback` goes
back to revision 1, and forth again; a second pipeline comes and goes. Asserted: no request fails,
and each reply is to the last bit that of one revision. A client of the SDK has the labels of what
answers.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest
from contract_support.calls import Triton
from contract_support.servers import BOXWISE, served, write_repository
from contract_support.synthetic import DOTS, SHADE, make_dots, png, write_mean_classifier
from contract_support.trials import Trial

from boxwise import Client
from boxwise_export.repository.atomic_dir import edited
from boxwise_export.repository.manifest import find_manifest
from boxwise_export.repository.serving_config import LAYOUTS, Layout

FRAME = make_dots(7).draw()
FILE = png(FRAME)


class Load:
    """Requests of four threads, and what they were answered."""

    def __init__(self, url: str) -> None:
        self.replies: Counter[bytes] = Counter()
        self.errors: Counter[str] = Counter()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._send, args=(url, number % 2)) for number in range(4)
        ]

    def _send(self, url: str, raw: bool) -> None:
        server = Triton(url, "")
        while not self._stop.is_set():
            try:
                said = reply(server, raw=raw)
            except Exception as error:  # noqa: BLE001 (counted)
                with self._lock:
                    self.errors[str(error)] += 1
            else:
                with self._lock:
                    self.replies[said] += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def reply(server: Triton, pipeline: str = "boxwise", *, raw: bool = False) -> bytes:
    """All of an answer."""
    said = server.predict_raw(pipeline, FRAME) if raw else server.predict(pipeline, FILE)
    return b"".join(
        name.encode() + repr(said[name].shape).encode() + said[name].tobytes()
        for name in sorted(said)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_changes_goes_live_under_load(trial: Trial, layout: Layout, tmp_path: Path) -> None:
    repository = write_repository(tmp_path, "boxwise", layout=layout)
    write_mean_classifier(tmp_path / "sources" / "other.onnx", gain=0.5)
    changed = {
        "detector": DOTS | {"max_detections": 3},
        "classifiers": [
            SHADE | {"weights": "other.onnx", "top_k": 2, "labels": ["cyan", "teal", "navy"]}
        ],
        "layout": layout,
    }
    with served(repository, "--reload") as command, Client(command.options.grpc_url) as client:

        def labels() -> tuple[str, ...]:
            """Those that the SDK has for what is answered now."""
            client.predict(FILE)
            return client.info().classifiers[0].labels

        server = Triton(command.options.grpc_url, "")
        first = reply(server)
        assert labels() == ("red", "green", "blue")
        turns = trial.of(short=1, long=20)
        with Load(command.options.grpc_url) as load:
            write_repository(tmp_path, "boxwise", **changed)
            command.wait_for("boxwise: revision 2 is live")
            second = reply(server)
            assert first != second == reply(server, raw=True)
            assert labels() == ("cyan", "teal", "navy")

            broken = tmp_path / "broken"
            shutil.copytree(repository, broken / "repository")
            write_repository(
                broken, "boxwise", **(changed | {"classifiers": [SHADE | {"top_k": 1}]})
            )
            revision = find_manifest(broken / "repository").revision()
            for graph in broken.rglob(f"{max(revision.models.values())}/**/model.onnx"):
                graph.unlink()
                graph.write_bytes(b"no graph")
            with edited(repository) as tree:
                shutil.rmtree(tree)
                shutil.copytree(broken / "repository", tree)
            refused = command.wait_for("boxwise: revision 3 is refused, and revision 2 goes on: ")
            assert reply(server) == reply(server, raw=True) == second

            for _ in range(turns):
                since = refused
                subprocess.run(
                    [BOXWISE, "rollback", str(repository), "--to", "1"],
                    check=True,
                    capture_output=True,
                )
                since = command.wait_for("boxwise: revision 1 is live", since=since)
                assert reply(server) == reply(server, raw=True) == first
                assert labels() == ("red", "green", "blue")
                subprocess.run(
                    [BOXWISE, "rollback", str(repository), "--to", "2"],
                    check=True,
                    capture_output=True,
                )
                refused = command.wait_for("boxwise: revision 2 is live", since=since)
                assert reply(server) == reply(server, raw=True) == second

            write_repository(tmp_path, "beside", layout=layout)
            command.wait_for("beside: revision 1 is live")
            assert reply(server, "beside") == first
            with edited(repository) as tree:
                for path in tree.glob("beside*"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            command.wait_for("beside: not in the repository any more")
    trial.measured(
        requests=load.replies.total(),
        failed=load.errors.total(),
        mixed=sum(count for said, count in load.replies.items() if said not in (first, second)),
        changes=3 + 2 * turns + 1,
    )
    assert not load.errors
    assert set(load.replies) == {first, second}
