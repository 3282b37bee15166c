"""Your own arrays in one `.npz` file: images [H, W, C] or signals [L, C] of any sizes (see `fcnjax.data.save_npz`).

`fcnjax train --config=configs/npz_file.py --data=mine.npz --workdir=runs/mine`

The file holds the splits "train" and "test". If it holds one, cut it: `--config.data.train_split='train[:80%]'`,
`validation_split='train[80%:90%]'`, `test_split='train[90%:]'`. `fcnjax train --data=mine.npz` without a config
chooses splits, network, mean and deviation.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import default_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return default_config(network, "mine.npz", ("train[:90%]", "train[90%:]", "test"))
