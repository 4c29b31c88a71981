"""A folder of images to a file of JSON lines: `python batch.py photos/ found.jsonl`.

Memory does not grow with the number of images.
"""

import json
import os
import sys
from pathlib import Path

from boxwise import Client


def main(folder: Path, out: Path) -> int:
    """Write a line per successful image, and return the number of failed ones."""
    failed = 0
    with (
        Client(os.environ.get("BOXWISE_URL", "localhost:8001"), timeout_s=30) as client,
        out.open("w") as lines,
    ):
        images = (
            path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
        for outcome in client.predict_many(images, concurrency=8, on_progress=progress):
            if outcome.result is None:
                failed += 1
                print(f"{outcome.image}: {outcome.error}", file=sys.stderr)
            else:
                lines.write(
                    json.dumps({"file": str(outcome.image), **outcome.result.to_dict()}) + "\n"
                )
    return failed


def progress(done: int, failed: int) -> None:
    """Print the progress every hundred images."""
    if done % 100 == 0:
        print(f"{done} done, {failed} failed", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1]), Path(sys.argv[2])) else 0)
