"""Malaria: blood cells under the microscope, with or without the parasite.

`fcnjax prepare malaria`, then `fcnjax train --config=configs/malaria.py --workdir=runs/malaria`.

2 classes; 27,558 images in one split (80 % training, 10 % validation, 10 % test), in color, each cut out around one
cell, most of them 100 to 200 pixels a side.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet18") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(network, "malaria", ("train[:80%]", "train[80%:90%]", "train[90%:]"), epochs=10, batch_size=64)
