"""ImageNet (ILSVRC 2012): photographs of a thousand kinds of things.

`fcnjax prepare imagenet2012 --manual_dir=DIR`, then `fcnjax train --config=configs/imagenet2012.py
--workdir=runs/imagenet2012`.

1,000 classes; 1,281,167 photographs for training (a hundredth for validation) and 50,000 for testing, which TFDS calls
validation; in color, usually 500 x 375 pixels. ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar are downloaded by
hand to DIR, after a registration. For research only.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import photos_config


def get_config(network: str = "resnet50") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return photos_config(
        network, "imagenet2012", ("train[:99%]", "train[99%:]", "validation"), epochs=90, batch_size=256
    )
