"""GTZAN: genres of music.

`fcnjax prepare gtzan`, then `fcnjax train --config=configs/gtzan.py --workdir=runs/gtzan`.

10 classes; 1,000 clips in one split (of which 80 % train, 10 % validate, 10 % test), 22.05 kHz, mono, about 30 seconds.
The set is known for repeated clips and wrong labels. No license is stated.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import sounds_config


def get_config(network: str = "fcn") -> ConfigDict:
    config = sounds_config(network, sample_rate=22050)
    config.update(batch_size=8, frontend={"mels": 128})
    config.update(
        data={
            "name": "gtzan",
            "train_split": "train[:80%]",
            "validation_split": "train[80%:90%]",
            "test_split": "train[90%:]",
        }
    )
    return config
