"""The tables that the demo is made of."""

import re
from pathlib import Path

import pytest

import boxwise_export
from boxwise_export.demo_assets import DEMO_ASSETS, LICENCES

LABELS = Path(boxwise_export.__file__).parent / "labels"


def test_every_asset_has_a_name_a_digest_and_a_licence_of_its_own() -> None:
    names = [asset.filename for asset in DEMO_ASSETS]
    assert len(set(names)) == len(names)
    assert set(LICENCES) == set(names)
    assert all(re.fullmatch("[0-9a-f]{64}", asset.sha256) for asset in DEMO_ASSETS)


@pytest.mark.parametrize(
    ("file", "count", "known"),
    [
        ("coco.txt", 80, {0: "person", 3: "motorcycle", 15: "cat", 41: "cup", 79: "toothbrush"}),
        (
            "imagenet.txt",
            1000,
            {
                0: "tench",
                281: "tabby cat",
                282: "tiger cat",
                283: "Persian cat",
                284: "Siamese cat",
                285: "Egyptian cat",
                504: "coffee mug",
                665: "moped",
                967: "espresso",
                999: "toilet paper",
            },
        ),
    ],
)
def test_labels_are_in_index_order_and_distinct(
    file: str, count: int, known: dict[int, str]
) -> None:
    labels = (LABELS / file).read_text(encoding="utf-8").splitlines()
    assert len(labels) == count
    assert len(set(labels)) == count
    assert all(label == label.strip() != "" for label in labels)
    assert {index: labels[index] for index in known} == known
