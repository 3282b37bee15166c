"""Fashion-MNIST: articles of clothing, all of one size.

`fcnjax prepare fashion_mnist`, then `fcnjax train --config=configs/fashion_mnist.py --workdir=runs/fashion_mnist`.

10 classes, 28 x 28 pixels, gray; 60,000 images for training (the last 5,000 for validation) and 10,000 for testing. MIT
license.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import default_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return default_config(
        network,
        "fashion_mnist",
        ("train[:55000]", "train[55000:]", "test"),
        epochs=20,
        batch_size=128,
        max_buckets=1,  # one size
        data={"mean": 0.286, "std": 0.353},
        augment={"flip": 0.5, "scale": 0.08, "shift": 0.05},
    )
