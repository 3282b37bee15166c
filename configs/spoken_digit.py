"""Free Spoken Digits: digits spoken in English.

`fcnjax prepare spoken_digit`, then `fcnjax train --config=configs/spoken_digit.py --workdir=runs/spoken_digit`.

10 classes; 2,500 recordings in one split (80 % training, 10 % validation, 10 % test; with the same speakers in all
three), 8 kHz, mono, a few tenths of a second to two seconds. CC BY-SA 4.0.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import sounds_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return sounds_config(network, "spoken_digit", ("train[:80%]", "train[80%:90%]", "train[90%:]"))
