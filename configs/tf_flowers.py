"""TensorFlow flowers: five kinds of flowers.

`fcnjax prepare tf_flowers`, then `fcnjax train --config=configs/tf_flowers.py --workdir=runs/tf_flowers`.

5 classes; 3,670 photographs in one split (80 % training, 10 % validation, 10 % test), in color, of 143 to 1,024
pixels a side, 240 x 320 at the median. Creative Commons Attribution, stated per photograph.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet18") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(network, "tf_flowers", ("train[:80%]", "train[80%:90%]", "train[90%:]"))
