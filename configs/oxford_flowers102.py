"""Oxford Flowers 102: species of flowers.

`fcnjax prepare oxford_flowers102`, then `fcnjax train --config=configs/oxford_flowers102.py
--workdir=runs/oxford_flowers102`.

102 classes; 1,020 photographs for training, 1,020 for validation and 6,149 for testing, in color, with a shorter side
of at least 500 pixels. No license is stated.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet18") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(network, "oxford_flowers102")
