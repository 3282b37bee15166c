"""Speech Commands: ten words, silence and unknown words.

`fcnjax prepare speech_commands`, then `fcnjax train --config=configs/speech_commands.py
--workdir=runs/speech_commands`.

12 classes; 85,511 recordings for training, 10,102 for validation and 4,890 for testing, 16 kHz, mono, at most one
second. CC BY 4.0.
"""

from ml_collections import ConfigDict

from fcnjax.training.settings.default_config import sounds_config


def get_config(network: str = "fcn") -> ConfigDict:
    """Returns this config for a network of `fcnjax.models.MODELS`."""
    return sounds_config(network, "speech_commands", epochs=15, batch_size=128, data={"sample_rate": 16000})
