"""What must be seen on the demo's photos; the boxes were drawn by hand, looking at them."""

from __future__ import annotations

import json

import pytest
from contract_support.calls import Triton

# Photo -> class, box (x1 y1 x2 y2) and what the classifier may say first. The motorcycle's box goes
# from the tail light to the front tyre, and from the mirror to the side stand.
SEEN = {
    "coffee": ("cup", (172, 18, 410, 308), {"espresso", "cup"}),
    "chelsea": (
        "cat",
        (0, 0, 400, 300),
        {"Egyptian cat", "tabby, tabby cat", "tabby", "tiger cat"},
    ),
    "motorcycle_left": (
        "motorcycle",
        (92, 40, 685, 452),
        {"moped", "motor scooter", "motor scooter, scooter"},
    ),
}


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize("photo", SEEN)
def test_what_is_on_the_photo_is_seen(triton: Triton, photos: dict[str, bytes], photo: str) -> None:
    name, drawn, labels = SEEN[photo]
    document = json.loads(triton.infer("boxwise_info", {})["info"][0])
    classes, words = document["detector"]["labels"], document["classifiers"][0]["labels"]
    answer = triton.predict("boxwise", photos[photo])
    of_its_class = [
        row for row, class_id in enumerate(answer["class_ids"]) if classes[class_id] == name
    ]
    assert len(of_its_class) == 1
    (row,) = of_its_class
    assert iou(answer["boxes"][row].tolist(), drawn) >= 0.7
    assert words[answer["imagenet_ids"][row, 0]] in labels


def test_a_person_is_seen_and_the_classifier_not_asked(
    triton: Triton, photos: dict[str, bytes]
) -> None:
    answer = triton.predict("boxwise", photos["astronaut"])
    (row,) = (row for row, class_id in enumerate(answer["class_ids"]) if class_id == 0)
    assert iou(answer["boxes"][row].tolist(), (20, 0, 440, 512)) >= 0.7
    assert (answer["imagenet_ids"][row] == -1).all()
    assert (answer["imagenet_scores"][row] == 0).all()
