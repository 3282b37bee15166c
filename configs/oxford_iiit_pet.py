"""Oxford-IIIT Pet: breeds of cats and dogs.

`fcnjax prepare oxford_iiit_pet`, then `fcnjax train --config=configs/oxford_iiit_pet.py
--workdir=runs/oxford_iiit_pet`.

37 classes; 3,680 photographs for training (a tenth for validation) and 3,669 for testing, in color, most of them 300 to
500 pixels a side. CC BY-SA 4.0.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet18") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(network, "oxford_iiit_pet", ("train[:90%]", "train[90%:]", "test"))
