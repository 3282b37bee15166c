"""Recipe: everything that decides a training run, frozen and checked once.

A config file is read at the edge and turned into a `Recipe` at once; below that there are only plain arguments.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fcnjax.data import Augmentation, RandomCrop, SizePolicy
from fcnjax.data.sources.source import ON_ERROR
from fcnjax.training.settings.config_fields import build, field_names, require, set_fields
from fcnjax.training.settings.learning_settings import LossSettings, OptimizerSettings
from fcnjax.training.settings.observation_settings import LogSettings, ProfileSettings

BATCHING = ("bucket", "mixed")
ON_FAILURE = ("stop", "continue")  # what becomes of a run whose checkpoint cannot be written
# Fields that change nothing in the steps of a run, so that runs that differ in them alone can share a trainer.
PACE = ("seed", "validate_every", "loader", "log", "profile", "checkpoint_every", "checkpoint_steps")
PACE += ("checkpoint_last", "checkpoint_best", "checkpoint_failure")
POOL_FIELDS = {"pool_r": "r", "pool_p": "p", "pool_heads": "heads", "pool_k": "k"}  # of the head -> option of its pool


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which data, and how pixels become numbers.

    Attributes:
        name: data set, such as "any_size_digits" or "any_size_digits/fixed_28x28".
        train_split, validation_split, test_split: names of its splits.
        data_dir: where prepared data sets lie; None is TFDS's own default.
        mean, std: of the pixels scaled to [0, 1], one number or one per channel: inputs are
            `(pixel / 255 - mean) / std`.
        channels: of images that are read from files, 1 (gray) or 3; None takes 1 where all are gray.
        sample_rate: that recordings are resampled to, in Hz; None keeps their own.
        on_error: what becomes of an example that cannot be decoded: "refuse" (all are found and listed before training)
            or "mask" (its row becomes filler; counted and listed at the end).
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

    def __post_init__(self):
        std = self.std if isinstance(self.std, tuple) else (self.std,)
        require(all(value > 0 for value in std), "data.std", self.std, "greater than 0")
        require(self.channels in (None, 1, 3), "data.channels", self.channels, "1, 3 or None")
        require(self.sample_rate is None or self.sample_rate > 0, "data.sample_rate", self.sample_rate, "at least 1")
        require(self.on_error in ON_ERROR, "data.on_error", self.on_error, f"one of {', '.join(ON_ERROR)}")


@dataclasses.dataclass(frozen=True)
class FrontendSettings:
    """What stands before the network; what is None is its own default.

    Attributes:
        name: "log_mel" for signals (see `fcnjax.layers.LogMel`); None: nothing, the network sees the raw values.
        sample_rate: in Hz, that of the recordings; None takes `data.sample_rate`, else its default.
        window, hop: in seconds.
        mels: bands.
        f_min, f_max: of the lowest and highest band, in Hz.
        time_masks, time_width, frequency_masks, frequency_width: of `fcnjax.layers.SpecAugment`, in training.
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
        require(self.name in (None, "log_mel"), "frontend.name", self.name, "log_mel or None")

    @property
    def options(self) -> dict[str, Any] | None:
        """The fields that are set, without the name; None where there is no front end."""
        options = {name: value for name, value in set_fields(self).items() if name != "name"}
        return options if self.name else None


@dataclasses.dataclass(frozen=True)
class LoaderSettings:
    """How examples are read: nothing in it changes what a run computes, so a run may go on with other values.

    Attributes:
        threads: that read and pad, at least 1.
        workers: processes that do so in place of this one's threads; 0 for none.
        prefetch: batches held ready in host memory, at least 1.
    """

    threads: int = 2
    workers: int = 0
    prefetch: int = 4

    def __post_init__(self):
        for name in ("threads", "prefetch"):
            require(getattr(self, name) >= 1, f"loader.{name}", getattr(self, name), "at least 1")
        require(self.workers >= 0, "loader.workers", self.workers, "at least 0")


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The backbone; what is None is the network's own default, what it does not know is refused.

    Attributes:
        name: a key of `fcnjax.models.MODELS`.
        channels: of `fcn`: output channels of each block.
        norm: of `fcn`: "batch", "group", "layer" or "none".
        activation: of `fcn`: after each convolution and norm.
        dropout: rate of channel dropout, in [0, 1), where the network has it.
        depth: of `resnet_cifar`: 6 n + 2 layers.
        width: channels of the first stage, of the networks that are made of stages; of EfficientNet a factor on all.
        dtype: what is computed in, "float32" or "bfloat16"; weights, statistics and pooled sums are float32 in any
            case.
    """

    name: str = "fcn"
    channels: tuple[int, ...] | None = None
    norm: str | None = None
    activation: str | None = None
    dropout: float | None = None
    depth: int | None = None
    width: int | float | None = None
    dtype: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The fields that are set, without the name."""
        return {name: value for name, value in set_fields(self).items() if name != "name"}


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    """The head (see `fcnjax.Head`).

    Attributes:
        hidden: widths of hidden layers.
        activation: after each hidden layer.
        norm: before all other layers: "batch", "group", "layer" or "none"; None is the network's own default.
        dropout: rate of channel dropout before the classifier, in [0, 1); None is the network's own default.
        score_activation: after the classifier; None is the network's own default.
        log_softmax: whether the class maps are log-probabilities.
        kernel: taps of the first linear layer along every axis, odd; the pool must come after it where it is not 1.
        flatten: extent of the features that a flatten-dense head is made for (see `fcnjax.heads.FlattenDenseHead`), in
            place of a pool; None has a pool.
        pool: a key of `fcnjax.pooling.POOLS`, such as "mean" or "attention".
        pool_r: sharpness of logsumexp, initial one of logsumexp_learnable; None is its default.
        pool_p: exponent of gem; None is its default.
        pool_heads: heads of attention, at least 1, dividing the channels; None is its default.
        pool_k: number of values of top_k, at least 1; None is its default.
        pool_at: the layer before which the pool stands: 0 is GAP-first, their number conv-first; None is the network's
            own default (of `fcn` conv-first).
    """

    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    norm: str | None = None
    dropout: float | None = None
    score_activation: str | None = None
    log_softmax: bool = False
    kernel: int = 1
    flatten: tuple[int, ...] | None = None
    pool: str = "mean"
    pool_r: float | None = None
    pool_p: float | None = None
    pool_heads: int | None = None
    pool_k: int | None = None
    pool_at: int | None = None

    @property
    def pool_options(self) -> dict[str, float]:
        """The options of the pool that are set."""
        options = {option: getattr(self, field) for field, option in POOL_FIELDS.items()}
        return {option: value for option, value in options.items() if value is not None}

    @property
    def options(self) -> dict[str, Any]:
        """The options of the head that are set, those of its pool left out; of a flatten-dense head those it has."""
        options = {name: value for name, value in set_fields(self).items() if name not in POOL_FIELDS}
        if self.flatten is None:
            return options
        kept = ("flatten", "hidden", "activation", "dropout")
        for name, value in options.items():
            fits = name in kept or value == getattr(HeadSettings, name)
            require(fits, f"head.{name}", value, "left out, as a flatten-dense head (head.flatten) has no such thing")
        return {name: options[name] for name in kept if name in options}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
        data, model, head, optimizer, loss: see their classes.
        size: native sizes (the default), or what they are brought to (see `fcnjax.data.SizePolicy`).
        crop: a random part of each training example, at the size drawn (see `fcnjax.data.RandomCrop`); by
            default all of it.
        mixup: Beta parameter with which each training example is mixed with another of its batch (see
            `fcnjax.data.mix`); 0: none.
        augment: random changes of training examples (see `fcnjax.data.Augmentation`); all 0 changes nothing.
        frontend: what stands before the network.
        loader: threads, processes and read-ahead.
        log, profile: what is observed of the run (see `fcnjax.training.settings.observation_settings`).
        seed: of the initial weights, the order of the data and every random layer, in [0, 2**32).
        epochs: passes over the training split, at least 1.
        batching: "bucket" (a step is rows of one rectangle) or "mixed" (a step is examples drawn from all, computed in
            parts of one rectangle each, whose gradients are summed: which examples share a step does not depend on the
            rectangles, and with a norm per example no weight does).
        batch_size: rows of a step at most, at least 1.
        pixel_budget: positions of a batch, or of a part of a step where batching is "mixed": each rectangle gets as
            many rows as fit, `batch_size` at most; None does not bound them.
        max_buckets: number of rectangles that the sizes are padded to, at least 1.
        multiple_of: extents of rectangles are multiples of this.
        ema_decay: share of the average of weights and running statistics that a step keeps, in [0, 1); the average is
            then what is evaluated and saved (see `fcnjax.training.step.average`). None averages nothing.
        remat: whether activations within blocks are computed anew in the backward pass: less memory, about a third more
            computation, the same gradients.
        shard_weights: whether each device keeps a part of the weights and of the optimizer's state, in place of all.
        validate_every: epochs between evaluations of the validation split; 0 evaluates it after the last epoch only.
        checkpoint_every: epochs between checkpoints; 0: none at the end of epochs. Without any checkpoint an
            interrupted run begins anew.
        checkpoint_steps: steps between checkpoints, besides; 0: none.
        checkpoint_last: how many of the latest checkpoints are kept, at least 1.
        checkpoint_best: how many of those with the highest validation accuracy are kept besides; each validation is
            then followed by a checkpoint.
        checkpoint_failure: what becomes of the run where one cannot be written: "stop", or "continue" without it.
    """

    data: DataSettings
    model: ModelSettings = ModelSettings()
    head: HeadSettings = HeadSettings()
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    loss: LossSettings = dataclasses.field(default_factory=LossSettings)
    size: SizePolicy = dataclasses.field(default_factory=SizePolicy)
    crop: RandomCrop = dataclasses.field(default_factory=lambda: RandomCrop(area=(1.0, 1.0), aspect=(1.0, 1.0)))
    augment: Augmentation = dataclasses.field(default_factory=Augmentation)
    frontend: FrontendSettings = FrontendSettings()
    loader: LoaderSettings = LoaderSettings()
    log: LogSettings = dataclasses.field(default_factory=LogSettings)
    profile: ProfileSettings = dataclasses.field(default_factory=ProfileSettings)
    seed: int = 0
    epochs: int = 10
    mixup: float = 0.0
    batching: str = "bucket"
    batch_size: int = 64
    pixel_budget: int | None = None
    max_buckets: int = 4
    multiple_of: int = 1
    ema_decay: float | None = None
    remat: bool = False
    shard_weights: bool = False
    validate_every: int = 1
    checkpoint_every: int = 1
    checkpoint_steps: int = 0
    checkpoint_last: int = 1
    checkpoint_best: int = 0
    checkpoint_failure: str = "stop"

    def __post_init__(self):
        require(0 <= self.seed < 2**32, "seed", self.seed, "in [0, 2**32)")
        rate, common = self.frontend.sample_rate, self.data.sample_rate
        allowed = f"that of config.data.sample_rate, {common}, or None"
        require(common is None or rate in (None, common), "frontend.sample_rate", rate, allowed)
        if self.crop.area[0] == 1:
            allowed = "(1.0, 1.0) where config.crop.area keeps all of each example"
            require(self.crop.aspect == (1, 1), "crop.aspect", self.crop.aspect, allowed)
        require(self.mixup >= 0, "mixup", self.mixup, "at least 0")
        require(self.batching in BATCHING, "batching", self.batching, f"one of {', '.join(BATCHING)}")
        require(self.ema_decay is None or 0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "in [0, 1), or None")
        for name in ("epochs", "batch_size", "max_buckets", "multiple_of"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.checkpoint_last >= 1, "checkpoint_last", self.checkpoint_last, "at least 1")
        failure = self.checkpoint_failure
        require(failure in ON_FAILURE, "checkpoint_failure", failure, f"one of {', '.join(ON_FAILURE)}")
        for name in ("validate_every", "checkpoint_every", "checkpoint_steps", "checkpoint_best"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        budget = self.pixel_budget
        require(budget is None or budget > 0, "pixel_budget", budget, "greater than 0")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe that a config (`ConfigDict` or nested mappings) describes.

        Raises:
            ValueError: for an unknown field, with the nearest one, a missing one, or a value out of its range.
            TypeError: for a value of another type than the field's.
        """
        return build(cls, config)

    @classmethod
    def field_names(cls, group: str = "") -> list[str]:
        """Returns the names of the fields in a group, such as "optimizer." or "" for the recipe itself."""
        return field_names(cls, group)

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as nested dictionaries and lists, ready for JSON."""
        return dataclasses.asdict(self)
