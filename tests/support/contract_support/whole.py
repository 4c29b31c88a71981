"""Whether what a repository serves is whole: every file that its manifests name, with the digest
they have of it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from boxwise_export.repository.manifest import read_manifests
from boxwise_export.repository.revisions import place


def assert_whole(repository: Path) -> int:
    """Look at every revision of the only pipeline; returns the number of the one that is served.

    What Triton reads, config.pbtxt at the top of each model, is that of the version that is served.
    """
    (manifest,) = read_manifests(repository).values()
    for revision in manifest.revisions:
        for model, digests in revision.digests.items():
            version = place(repository, manifest.pipeline, model) / str(revision.models[model])
            for path, digest in digests.items():
                content = (version / path).read_bytes()
                assert hashlib.sha256(content).hexdigest() == digest, (
                    revision.number,
                    version,
                    path,
                )
    served = manifest.revision()
    assert {path.parent.name for path in repository.glob("*/config.pbtxt")} == set(served.models)
    for model, version in served.models.items():
        for config in (repository / model / str(version)).rglob("*.pbtxt"):
            inner = config.relative_to(repository / model / str(version))
            if inner.parts[0] != "stages":
                shown = (repository / model / inner).read_text()
                assert shown.startswith(config.read_text()), (model, inner)
                assert f"versions: [ {version} ]" in shown, (model, inner)
    return served.number
