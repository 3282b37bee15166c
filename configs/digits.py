"""Scanned digits of 16 to 40 pixels, height and width drawn separately, with the forum thread's network.

`fcnjax train --config=configs/digits.py --workdir=runs/digits`; for another network of `fcnjax.models.MODELS`, give,
for example, `--config=configs/digits.py:resnet_cifar`. The data set also has a variant of one size,
`--config.data.name=any_size_digits/fixed_28x28`.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import digits_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return digits_config(network, "any_size_digits", epochs=7, batch_size=16, max_buckets=2)
