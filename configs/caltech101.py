"""Caltech-101: photographs of objects.

`fcnjax prepare caltech101`, then `fcnjax train --config=configs/caltech101.py --workdir=runs/caltech101`.

102 classes (one is background clutter); 3,059 images for training (a tenth for validation) and 6,085 for testing, in
color, of 80 to 708 pixels a side, 240 x 300 at the median. CC BY 4.0.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet18") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(network, "caltech101", ("train[:90%]", "train[90%:]", "test"))
