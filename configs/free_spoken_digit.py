"""Free Spoken Digit Dataset, as its authors publish it: files `DIGIT_SPEAKER_INDEX.wav` in one folder.

`fcnjax train --config=configs/free_spoken_digit.py --config.data.data_dir=free-spoken-digit-dataset/recordings
--workdir=runs/spoken`

10 classes, 6 speakers, 8 kHz, 0.14 to 2.28 s. As in the official split, indices 0 to 4 are for testing (300
recordings); here, 5 to 9 are for validation (300) and 10 to 49 for training (2,400). CC BY-SA 4.0. Accuracy: 99.67 %
(299 of 300), in 48 s on 2 CPU cores.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import sounds_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return sounds_config(network, "audio_folder", ("*_[1-4][0-9].wav", "*_[5-9].wav", "*_[0-4].wav"), epochs=15)
