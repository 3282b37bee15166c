"""Digits of any size: the thread's network on scanned digits of 16 to 40 pixels, height and width apart.

`fcnjax train --config=configs/digits.py --workdir=runs/digits`; with another network of `fcnjax.models.MODELS` by, for
example, `--config=configs/digits.py:resnet_cifar`.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import digits_config


def get_config(network: str = "fcn") -> ConfigDict:
    return digits_config(network, "any_size_digits", epochs=7, batch_size=16, max_buckets=2)
