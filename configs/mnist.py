"""MNIST: handwritten digits, all of one size.

`fcnjax prepare mnist`, then `fcnjax train --config=configs/mnist.py --workdir=runs/mnist`.

10 classes, 28 x 28 pixels, gray; 60,000 images for training (the last 5,000 for validation) and 10,000 for testing. The
license usually quoted is CC BY-SA 3.0. With `--config.epochs=3`: 99.20 % of the test images, in 115 s on 2 CPU cores.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import digits_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return digits_config(
        network,
        "mnist",
        ("train[:55000]", "train[55000:]", "test"),
        epochs=12,
        batch_size=128,
        max_buckets=1,  # one size
        data={"mean": 0.1307, "std": 0.3081},
    )
