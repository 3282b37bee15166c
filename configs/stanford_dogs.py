"""Stanford Dogs: breeds of dogs.

`fcnjax prepare stanford_dogs`, then `fcnjax train --config=configs/stanford_dogs.py --workdir=runs/stanford_dogs`.

120 classes; 12,000 photographs for training (a twentieth for validation) and 8,580 for testing, in color, about 100 to
several thousand pixels a side. The photographs are ImageNet's: for research only.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet34") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    size = {"max_side": 512}  # pixels; some photographs have thousands
    return photos_config(network, "stanford_dogs", ("train[:95%]", "train[95%:]", "test"), size=size)
