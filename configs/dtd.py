"""Describable Textures: textures in the wild, classified by adjectives.

`fcnjax prepare dtd`, then `fcnjax train --config=configs/dtd.py --workdir=runs/dtd`.

47 classes; 1,880 photographs each for training, validation and testing (the first of ten partitions), in color, of 300
to 640 pixels a side. For research only.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet18") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(network, "dtd", augment={"flip_vertical": 0.5})  # most textures have no top
