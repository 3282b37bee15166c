"""Imagenette: ten classes of ImageNet that are easy to distinguish.

`fcnjax prepare imagenette/full-size-v2`, then `fcnjax train --config=configs/imagenette.py --workdir=runs/imagenette`.

10 classes; 9,469 photographs for training (a twentieth for validation) and 3,925 for testing, which TFDS calls
validation; in color, at full size. The variants 320px-v2 and 160px-v2 have shorter sides of 320 and 160 pixels. The
photographs are ImageNet's: for research only.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet18") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(network, "imagenette/full-size-v2", ("train[:95%]", "train[95%:]", "validation"))
