"""Recipe: everything that determines a training run, frozen and checked once.

A config is read at the edge and becomes a `Recipe` at once; code below the edge takes plain arguments. `Recipe` and the
dataclasses of its groups are the only definition of a config's fields, defaults, types and help.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fcnjax.data import Augmentation, RandomCrop, SizePolicy
from fcnjax.precision import PRECISIONS
from fcnjax.training.settings.config_fields import field_names, from_mapping, require, require_at_least, set_fields
from fcnjax.training.settings.data_settings import DataSettings, FrontendSettings
from fcnjax.training.settings.learning_settings import LossSettings, OptimizerSettings
from fcnjax.training.settings.observation_settings import LogSettings, ProfileSettings

BATCHING = ("bucket", "mixed")
ON_FAILURE = ("stop", "continue")  # what a run does when a checkpoint cannot be written
ON_DAMAGE = ("skip", "refuse")  # what a resumed run does when its latest checkpoint is damaged
# Fields that do not change the steps of a run: runs that differ only in them can share a trainer.
PACE = ("seed", "validate_every", "loader", "log", "profile", "checkpoint_every", "checkpoint_steps")
PACE += ("checkpoint_last", "checkpoint_best", "checkpoint_failure", "checkpoint_damaged")
# Fields of the head and the options of the pool that they set.
POOL_FIELDS = {"pool_r": "r", "pool_p": "p", "pool_heads": "heads", "pool_k": "k"}
# Defaults of recipes for the fcn. GELU is smooth: rounding cannot separate two runs at the kink of a ReLU.
FCN = {"channels": (32, 64, 128), "norm": "batch", "activation": "gelu"}


@dataclasses.dataclass(frozen=True)
class LoaderSettings:
    """How examples are read. It does not change what a run computes, so a run may be continued with other values.

    Attributes:
        threads: number of threads that read and pad, at least 1.
        workers: number of processes that read and pad, each with `threads` threads; 0 reads in the main process.
        prefetch: batches held ready in host memory, at least 1.
    """

    threads: int = 2
    workers: int = 0
    prefetch: int = 4

    def __post_init__(self):
        require_at_least(1, self, "threads", "prefetch")
        require_at_least(0, self, "workers")


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The network without its head. A field that is None takes the network's own default; one that the network does not
    have is refused.

    Attributes:
        name: a key of `fcnjax.models.MODELS`.
        channels: output channels of each block of `fcn`; None means (32, 64, 128).
        downsampling: how each block of `fcn` halves the size, "stride" or "max_pool", or keeps it, "dilation" or "none"
            (see `fcnjax.models.fcn`); None means "stride".
        norm: norm of `fcn`: "batch", "group", "layer" or "none"; None means "batch".
        activation: activation of `fcn`, after each convolution and norm; None means "gelu".
        dropout: rate of channel dropout, in [0, 1).
        depth: number of layers of `resnet_cifar`, 6 n + 2.
        width: channels of the first stage of a network made of stages; for EfficientNet a factor on all channels.
        border: what convolutions see beyond the edge of an example: "zero", "partial", "replicate", "reflect",
            "circular", or "valid" for no pads (see `fcnjax.layers.Convolution`); None means "zero".
        dtype: dtype of the computation, "float32" or "bfloat16"; None means the dtype of the data. Weights, statistics
            and pooled sums are float32 in any case.
    """

    name: str = "fcn"
    channels: tuple[int, ...] | None = None
    downsampling: str | None = None
    norm: str | None = None
    activation: str | None = None
    dropout: float | None = None
    depth: int | None = None
    width: int | float | None = None
    border: str | None = None
    dtype: str | None = None

    def __post_init__(self):
        for name, value in FCN.items() if self.name == "fcn" else ():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)  # as the class is frozen

    @property
    def options(self) -> dict[str, Any]:
        """The fields that are set, without the name."""
        return {name: value for name, value in set_fields(self).items() if name != "name"}


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    """The head (see `fcnjax.Head`).

    Attributes:
        hidden: widths of hidden layers.
        activation: activation after each hidden layer.
        norm: norm before all other layers: "batch", "group", "layer" or "none"; None means the network's default.
        dropout: rate of channel dropout before the classifier, in [0, 1); None means the network's default.
        score_activation: activation after the classifier; None means the network's default.
        log_softmax: whether the class maps are log-probabilities.
        kernel: taps of the first linear layer along every axis, odd; the pool must come after a kernel larger than 1.
        flatten: extents such as (3, 3): a dense layer for features of exactly this size, in place of a pool (see
            `fcnjax.heads.FlattenDenseHead`); None uses a pool.
        pool: a key of `fcnjax.pooling.POOLS`, such as "mean" or "attention".
        pool_r: sharpness of logsumexp, initial sharpness of logsumexp_learnable; None means the pool's default.
        pool_p: exponent of gem; None means the pool's default.
        pool_heads: heads of attention, at least 1, a divisor of the channels; None means the pool's default.
        pool_k: number of values of top_k, at least 1; None means the pool's default.
        pool_at: number of layers before the pool: 0 is GAP-first, all of them conv-first; None means the network's
            default (conv-first for `fcn`).
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
        """The options of the head that are set, without the pool's; for a flatten-dense head, only those that it has.

        Raises:
            ValueError: if `flatten` is set together with a field that a flatten-dense head does not have.
        """
        options = {name: value for name, value in set_fields(self).items() if name not in POOL_FIELDS}
        if self.flatten is None:
            return options
        kept = ("flatten", "hidden", "activation", "dropout")
        for name, value in options.items():
            default = getattr(HeadSettings, name)
            allowed = f"{default!r}; a flatten-dense head (config.head.flatten) does not have it"
            require(name in kept or value == default, f"config.head.{name}", value, allowed)
        return {name: options[name] for name in kept if name in options}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
        data, model, head, optimizer, loss: see their classes.
        size: sizes of the examples, native by default (see `fcnjax.data.SizePolicy`).
        crop: a random part of each training example, at its drawn size (see `fcnjax.data.RandomCrop`); by default the
            whole example.
        augment: random changes of training examples (see `fcnjax.data.Augmentation`); by default none.
        frontend: the layers before the network.
        loader: threads, processes and read-ahead.
        log, profile: settings of logs and profiles (see `fcnjax.training.settings.observation_settings`).
        init_from: finished run, or model folder (also one of `fcnjax import-weights`), whose weights the network starts
            from; its blocks must be those of `model`, and the head is taken over where classes match by name. None
            draws all weights.
        freeze: patterns of names of weights that stay as they are: "stem", "stage[12]", "*.bias"; a frozen batch norm
            keeps its running statistics and normalizes by them.
        seed: seed of the initial weights, the order of the data and every random layer, in [0, 2**32).
        epochs: passes over the training split, at least 1.
        mixup: Beta parameter with which each training example is mixed with another of its batch (see
            `fcnjax.data.mix`); 0 mixes nothing.
        batching: "bucket" (a step is a batch of one bucket) or "mixed" (a step is examples drawn from all buckets,
            computed in parts of one bucket each, with summed gradients: the examples that share a step do not depend on
            the buckets, nor do the weights if norms are per example).
        batch_size: maximum rows of a step, at least 1.
        pixel_budget: maximum positions of a batch, or of a part of a step with batching "mixed": a bucket gets as many
            rows as fit, at most `batch_size`; None does not bound them.
        max_buckets: maximum number of buckets for the sizes, at least 1.
        multiple_of: extents of bucket shapes are multiples of this, at least 1.
        ema_decay: share of the average of weights and running statistics that a step keeps, in [0, 1): the average is
            evaluated and saved (see `fcnjax.training.step.average`); None averages nothing.
        precision: how products of float32 arrays are computed on an accelerator: "float32" (full precision) or "tf32"
            (faster on NVIDIA GPUs; an example padded to another shape then differs by about 1e-3 instead of 1e-6, see
            `fcnjax.precision`). `model.dtype` chooses the dtype of the arrays.
        deterministic: whether two runs, and an interrupted and an uninterrupted one, end with the same bits on one GPU,
            at the cost of speed; the programs then compile faster. On a CPU they do so in any case.
        remat: whether the backward pass recomputes activations within blocks: less memory, about a third more
            computation, the same gradients.
        shard_weights: whether each device holds a part of the weights and of the optimizer's state instead of all of
            them.
        validate_every: epochs between evaluations of the validation split; 0 evaluates only after the last epoch.
        checkpoint_every: epochs between checkpoints; 0 writes none at the end of epochs. Without any checkpoint an
            interrupted run starts from the beginning.
        checkpoint_steps: steps between further checkpoints; 0 writes none.
        checkpoint_last: number of latest checkpoints that are kept, at least 1.
        checkpoint_best: number of further checkpoints that are kept: those with the highest validation accuracy. If
            above 0, each validation is followed by a checkpoint.
        checkpoint_failure: what happens if a checkpoint cannot be written: "stop", or "continue" without the
            checkpoint.
        checkpoint_damaged: what happens if the latest checkpoint is not what was written: "skip" resumes from the
            newest whole one and says so, "refuse" ends with an error.
    """

    data: DataSettings
    model: ModelSettings = ModelSettings()
    head: HeadSettings = HeadSettings()
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    loss: LossSettings = dataclasses.field(default_factory=LossSettings)
    size: SizePolicy = dataclasses.field(default_factory=SizePolicy)
    crop: RandomCrop = dataclasses.field(default_factory=RandomCrop)
    augment: Augmentation = dataclasses.field(default_factory=Augmentation)
    frontend: FrontendSettings = dataclasses.field(default_factory=FrontendSettings)
    loader: LoaderSettings = LoaderSettings()
    log: LogSettings = dataclasses.field(default_factory=LogSettings)
    profile: ProfileSettings = dataclasses.field(default_factory=ProfileSettings)
    init_from: str | None = None
    freeze: tuple[str, ...] = ()
    seed: int = 0
    epochs: int = 10
    mixup: float = 0.0
    batching: str = "bucket"
    batch_size: int = 64
    pixel_budget: int | None = None
    max_buckets: int = 4
    multiple_of: int = 1
    ema_decay: float | None = None
    precision: str = "float32"
    deterministic: bool = False
    remat: bool = False
    shard_weights: bool = False
    validate_every: int = 1
    checkpoint_every: int = 1
    checkpoint_steps: int = 0
    checkpoint_last: int = 1
    checkpoint_best: int = 0
    checkpoint_failure: str = "stop"
    checkpoint_damaged: str = "skip"

    def __post_init__(self):
        require(0 <= self.seed < 2**32, "seed", self.seed, "in [0, 2**32)")
        rate, common = self.frontend.sample_rate, self.data.sample_rate
        allowed = f"{common} as in config.data.sample_rate, or None"
        require(common is None or rate in (None, common), "frontend.sample_rate", rate, allowed)
        if self.crop.area[0] == 1:
            allowed = "(1.0, 1.0) unless config.crop.area is less than the whole example"
            require(self.crop.aspect == (1, 1), "crop.aspect", self.crop.aspect, allowed)
        require(self.batching in BATCHING, "batching", self.batching, f"one of {', '.join(BATCHING)}")
        require(self.ema_decay is None or 0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "in [0, 1), or None")
        require(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        require_at_least(1, self, "epochs", "batch_size", "max_buckets", "multiple_of", "checkpoint_last")
        require_at_least(0, self, "mixup", "validate_every", "checkpoint_every", "checkpoint_steps", "checkpoint_best")
        failure = self.checkpoint_failure
        require(failure in ON_FAILURE, "checkpoint_failure", failure, f"one of {', '.join(ON_FAILURE)}")
        damaged = self.checkpoint_damaged
        require(damaged in ON_DAMAGE, "checkpoint_damaged", damaged, f"one of {', '.join(ON_DAMAGE)}")
        budget = self.pixel_budget
        require(budget is None or budget > 0, "pixel_budget", budget, "greater than 0, or None")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe of a config (`ConfigDict` or nested mappings), with defaults for fields left out.

        Raises:
            ValueError: if a field is unknown (the message names the nearest one), is missing, or is out of its range.
            TypeError: if a value is not of its field's type.
        """
        return from_mapping(cls, config)

    @classmethod
    def field_names(cls, group: str = "") -> list[str]:
        """Returns the names of the fields in a group, such as "optimizer.", or "" for the recipe itself."""
        return field_names(cls, group)

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as nested dictionaries and lists, ready for JSON."""
        return dataclasses.asdict(self)
