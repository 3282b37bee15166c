"""Your own recordings, in one folder per class, `DIR/CLASS/*.wav`, or in files named `DIR/CLASS_*.wav`.

`fcnjax train --config=configs/audio_folder.py --config.data.data_dir=DIR --workdir=runs/recordings`

If the folders `DIR/train` and `DIR/test` exist, set the splits: `--config.data.train_split='train[:90%]'`,
`validation_split='train[90%:]'`, `test_split=test`. Recordings are resampled to 8 kHz, or to another rate, such as
`--config.data.sample_rate=16000`.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import sounds_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return sounds_config(network, "audio_folder", ("all[:80%]", "all[80%:90%]", "all[90%:]"))
