"""The data set of a recipe, how its values become numbers, and the front end before the network."""

import dataclasses
from typing import Any

from fcnjax.data.files.label_settings import LabelSettings
from fcnjax.data.sources.source import ON_ERROR
from fcnjax.training.settings.config_fields import require, set_fields

ON_ABSENT = ("refuse", "allow")  # what happens to classes without training examples
ON_LEAKAGE = ("warn", "refuse", "ignore")  # what happens if splits share examples


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The data set, and how pixels become numbers.

    Attributes:
        name: data set (see `fcnjax.load_source`), such as "any_size_digits" or "any_size_digits/fixed_28x28".
        train_split, validation_split, test_split: name of the split, such as "train" or "train[:90%]".
        data_dir: folder of prepared data sets, or of your own files, from where the run began; None means TFDS's own.
        mean, std: mean and standard deviation of the pixels, scaled to [0, 1]: one number, or one per channel. Inputs
            are `(pixel / 255 - mean) / std`.
        channels: channels of values read from files: 1 (gray) or 3 for photographs, any number for others (bands of
            images, 2 for stereo); None means those of the files: of photographs 1 if all are gray, else 3; of
            recordings 1, their mean.
        sample_rate: rate in Hz to which recordings are resampled; None keeps their own.
        on_error: "refuse" lists all examples that cannot be decoded before training and stops; "mask" makes them filler
            rows, and counts and lists them at the end.
        labels: where labels, splits and groups of files come from, if not from folders (see `LabelSettings`).
        absent_classes: what happens if a class has no training example: "refuse" names it and its nearest twins,
            "allow" trains without it.
        leakage: what happens if splits share an example, a file of the same content, or a group: "warn" counts and
            says it, "refuse" stops, "ignore" does not look.
    """

    name: str
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    data_dir: str | None = None
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    channels: int | None = None
    sample_rate: int | None = None
    on_error: str = "refuse"
    labels: LabelSettings = dataclasses.field(default_factory=LabelSettings)
    absent_classes: str = "refuse"
    leakage: str = "warn"

    def __post_init__(self):
        for name in ("mean", "std"):  # an override of numbers per channel by one number
            if isinstance(value := getattr(self, name), tuple) and len(value) == 1:
                object.__setattr__(self, name, value[0])
        std = self.std if isinstance(self.std, tuple) else (self.std,)
        require(all(value > 0 for value in std), "std", self.std, "greater than 0")
        channels = self.channels
        require(channels is None or channels >= 1, "channels", channels, "at least 1, or None")
        rate = self.sample_rate
        require(rate is None or rate >= 1, "sample_rate", rate, "at least 1, or None")
        for name, allowed in (("on_error", ON_ERROR), ("absent_classes", ON_ABSENT), ("leakage", ON_LEAKAGE)):
            require(getattr(self, name) in allowed, name, getattr(self, name), f"one of {', '.join(allowed)}")


@dataclasses.dataclass(frozen=True)
class FrontendSettings:
    """The front end: the layers before the network. Ranges and defaults are those of the layers named here.

    Attributes:
        name: "log_mel" for signals (see `fcnjax.models.frontend.log_mel`); None gives the network the raw values.
        sample_rate: rate of the recordings in Hz; None means `data.sample_rate`, or `LogMel`'s default if that is None
            too.
        window, hop: length of a frame and step between frames of `fcnjax.layers.LogMel`, in seconds; None means its
            default.
        mels: number of bands of `LogMel`; None means its default.
        f_min, f_max: lower edge of the lowest band and upper edge of the highest, in Hz; None means `LogMel`'s default.
        time_masks, frequency_masks: number of masks of `fcnjax.layers.SpecAugment`, in training; None means 0.
        time_width, frequency_width: maximum width of a mask, as a share of the frames or bands; None means
            `SpecAugment`'s default.
    """

    name: str | None = None
    sample_rate: int | None = None
    window: float | None = None
    hop: float | None = None
    mels: int | None = None
    f_min: float | None = None
    f_max: float | None = None
    time_masks: int | None = None
    time_width: float | None = None
    frequency_masks: int | None = None
    frequency_width: float | None = None

    def __post_init__(self):
        require(self.name in (None, "log_mel"), "name", self.name, "'log_mel' or None")

    @property
    def options(self) -> dict[str, Any] | None:
        """The fields that are set, without the name; None without a front end."""
        options = {name: value for name, value in set_fields(self).items() if name != "name"}
        return options if self.name else None
