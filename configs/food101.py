"""Food-101: dishes.

`fcnjax prepare food101`, then `fcnjax train --config=configs/food101.py --workdir=runs/food101`.

101 classes; 75,750 photographs for training (a twentieth for validation) and 25,250 for testing, which TFDS calls
validation; in color, with a longer side of at most 512 pixels.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet50") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(network, "food101", ("train[:95%]", "train[95%:]", "validation"))
