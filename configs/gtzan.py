"""GTZAN: genres of music.

`fcnjax prepare gtzan`, then `fcnjax train --config=configs/gtzan.py --workdir=runs/gtzan`.

10 classes; 1,000 clips in one split (80 % training, 10 % validation, 10 % test), 22.05 kHz, mono, about 30 seconds. The
data set is known to contain repeated clips and wrong labels. No license is stated.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import sounds_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return sounds_config(
        network,
        "gtzan",
        ("train[:80%]", "train[80%:90%]", "train[90%:]"),
        batch_size=8,  # long clips
        data={"sample_rate": 22050},
        frontend={"mels": 128},
    )
