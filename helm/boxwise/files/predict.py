"""`helm test`: send one image as any client does, and check every box of the response."""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from boxwise import TLS, Client


def drawn() -> bytes:
    """Draw coloured rectangles on a grey gradient, 320 x 240; return a JPEG."""
    frame = np.repeat(np.linspace(40, 200, 320, dtype=np.uint8)[None, :, None], 240, 0).repeat(3, 2)
    frame[60:140, 40:120] = (220, 40, 40)
    frame[100:200, 180:280] = (40, 60, 220)
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=90)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--picture")
    parser.add_argument("--min-boxes", type=int, default=0)
    for name in ("authorities", "certificate", "key"):
        parser.add_argument(f"--{name}")
    args = parser.parse_args()

    tls = TLS(
        *(Path(each) if each else None for each in (args.authorities, args.certificate, args.key))
    )
    with Client(
        args.target, pipeline=args.pipeline, tls=tls if args.authorities else False, timeout_s=60
    ) as client:
        result = client.predict(args.picture or drawn())
    height, width = result.image_size
    for classifier in result.info.classifiers:
        check(classifier.name in result.label_ids, f"no answer of the classifier {classifier.name}")
    check(
        bool((result.xyxy >= 0).all() and (result.xyxy <= [width, height] * 2).all()),
        "a box exceeds the image",
    )
    check(bool((np.diff(result.confidence) <= 0).all()), "the best box is not the first")
    check(
        len(result) >= args.min_boxes, f"{len(result)} boxes, where {args.min_boxes} are the least"
    )
    for each in result:
        print(
            f"{each.class_name} {each.confidence:.2f} {[round(float(side)) for side in each.xyxy]}"
        )
    print(f"{args.pipeline}: {len(result)} boxes in an image of {width} x {height}")


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {otherwise}")


if __name__ == "__main__":
    main()
