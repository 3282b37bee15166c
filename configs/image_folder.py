"""Your own images, one folder per class: `DIR/train/CLASS/*.jpg` and `DIR/test/CLASS/*.jpg`.

`fcnjax train --config=configs/image_folder.py --config.data.data_dir=DIR --workdir=runs/photos`

For `DIR/CLASS/*.jpg` alone, set the splits: `--config.data.train_split='all[:80%]'`, `validation_split='all[80%:90%]'`,
`test_split='all[90%:]'`. With 20 classes of Caltech-101 (1,362 photographs to train, native sizes): see README.
"""

from ml_collections import ConfigDict

from fcnjax.training.default_config import photos_config


def get_config(network: str = "fcn") -> ConfigDict:
    config = photos_config(network)
    if network == "fcn":
        config.update(model={"channels": (16, 32, 64, 128), "activation": "relu"})
    config.update(
        data={
            "name": "image_folder",
            "train_split": "train[:90%]",
            "validation_split": "train[90%:]",
            "test_split": "test",
        }
    )
    return config
