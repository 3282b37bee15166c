"""Your own images, one folder per class: `DIR/train/CLASS/*.jpg` and `DIR/test/CLASS/*.jpg`.

`fcnjax train --config=configs/image_folder.py --config.data.data_dir=DIR --workdir=runs/photos`

If there are no folders of splits, only `DIR/CLASS/*.jpg`, set the splits: `--config.data.train_split='all[:80%]'`,
`validation_split='all[80%:90%]'`, `test_split='all[90%:]'`. Labels in a table, a list or a pattern of paths:
`--config.data.labels.table=labels.csv` (see the README). Accuracy with 100 photographs of each of 20 classes of
Caltech-101, 97 to 418 pixels a side, and `--config.epochs=20`: 45.6 % of 447 test images (most frequent class: 5.6 %),
in 18 minutes on 2 CPU cores. `fcnjax train --data=DIR`, which needs no config, chooses a narrow ResNet-18: 76.1 %.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    config = photos_config(network, "image_folder", ("train[:90%]", "train[90%:]", "test"))
    if network == "fcn":
        config.model.update(channels=(16, 32, 64, 128), activation="relu")  # a fourth halving, for larger images
    return config
