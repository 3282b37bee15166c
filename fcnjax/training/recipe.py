"""Recipe: everything that decides a training run, frozen and checked once.

A config file is read at the edge and turned into a `Recipe` at once; below that there are only plain arguments.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from fcnjax.data import Affine
from fcnjax.naming import unknown_name

T = TypeVar("T", bound=Any)
POOL_FIELDS = {"pool_r": "r", "pool_p": "p", "pool_heads": "heads", "pool_k": "k"}  # of the head -> option of its pool


def _set_fields(settings: Any) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(settings).items() if value is not None}


def _require(holds: bool, name: str, value: Any, allowed: str):
    if not holds:
        raise ValueError(f"config.{name}={value}: must be {allowed}.")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which data, and how pixels become numbers.

    Attributes:
      name: data set, such as "any_size_digits" or "any_size_digits/fixed_28x28".
      train_split, validation_split, test_split: names of its splits.
      data_dir: where prepared data sets lie; None is TFDS's own default.
      mean, std: of the pixels scaled to [0, 1]; an input is `(pixel / 255 - mean) / std`.
    """

    name: str
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = "test"
    data_dir: str | None = None
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self):
        _require(self.std > 0, "data.std", self.std, "greater than 0")


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
      dtype: what is computed in, "float32" or "bfloat16"; weights, statistics and pooled sums are float32 in any case.
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
        return {name: value for name, value in _set_fields(self).items() if name != "name"}


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
        options = {name: value for name, value in _set_fields(self).items() if name not in POOL_FIELDS}
        if self.flatten is None:
            return options
        kept = ("flatten", "hidden", "activation", "dropout")
        for name, value in options.items():
            fits = name in kept or value == getattr(HeadSettings, name)
            _require(fits, f"head.{name}", value, "left out, as a flatten-dense head (head.flatten) has no such thing")
        return {name: options[name] for name in kept if name in options}


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """Optimiser and schedule, all of them optax's.

    Attributes:
      name: "adamw" or "sgd" (Nesterov momentum).
      learning_rate: peak, greater than 0.
      schedule: "cosine" (to 0 at the end of the run) or "constant".
      warmup: share of the steps during which the rate rises linearly from 0, in [0, 1).
      weight_decay: decoupled, on kernels only, at least 0.
      momentum: of sgd, in [0, 1).
      epsilon: of adamw, greater than 0: gradients well below it move a weight in proportion, not by their sign alone,
        so that rounding in a gradient that should be 0 does not become a full step.
      clip_norm: largest global norm of the gradient; None does not clip.
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.0
    weight_decay: float = 0.0
    momentum: float = 0.9
    epsilon: float = 1e-8
    clip_norm: float | None = None

    def __post_init__(self):
        _require(self.learning_rate > 0, "optimizer.learning_rate", self.learning_rate, "greater than 0")
        _require(0 <= self.warmup < 1, "optimizer.warmup", self.warmup, "in [0, 1)")
        _require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "at least 0")
        _require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "in [0, 1)")
        _require(self.epsilon > 0, "optimizer.epsilon", self.epsilon, "greater than 0")
        _require(self.clip_norm is None or self.clip_norm > 0, "optimizer.clip_norm", self.clip_norm, "greater than 0")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
      data, model, head, optimizer: see their classes.
      augment: random changes of training images (see `fcnjax.data.Affine`); all 0 changes nothing.
      seed: of the initial weights, the order of the data and every random layer, in [0, 2**32).
      epochs: passes over the training split, at least 1.
      batch_size: rows of a step, at least 1.
      max_buckets: number of rectangles that the sizes are padded to, at least 1.
      validate_every: epochs between evaluations of the validation split; 0 evaluates it after the last epoch only.
      checkpoint_every: epochs between checkpoints; 0 keeps none, only the final weights.
    """

    data: DataSettings
    model: ModelSettings = ModelSettings()
    head: HeadSettings = HeadSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    augment: Affine = dataclasses.field(default_factory=Affine)
    seed: int = 0
    epochs: int = 10
    batch_size: int = 64
    max_buckets: int = 4
    validate_every: int = 1
    checkpoint_every: int = 1

    def __post_init__(self):
        _require(0 <= self.seed < 2**32, "seed", self.seed, "in [0, 2**32)")
        for name in ("epochs", "batch_size", "max_buckets"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("validate_every", "checkpoint_every"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe that a config (`ConfigDict` or nested mappings) describes.

        Raises:
          ValueError: for an unknown field, with the nearest one, a missing one, or a value out of its range.
          TypeError: for a value of another type than the field's.
        """
        return _build(cls, config, "")

    @classmethod
    def field_names(cls, group: str = "") -> list[str]:
        """Returns the names of the fields in a group, such as "optimizer." or "" for the recipe itself."""
        kind: Any = cls
        for name in group.split(".")[:-1]:
            kind = typing.get_type_hints(kind).get(name, cls)
        return list(typing.get_type_hints(kind))

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as nested dictionaries and lists, ready for JSON."""
        return dataclasses.asdict(self)


def _build(cls: type[T], config: Mapping[str, Any], prefix: str) -> T:
    if not hasattr(config, "items"):  # a ConfigDict is no Mapping
        raise TypeError(f"{f'config.{prefix}'.rstrip('.')}={config!r}: must be a group of fields.")
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, value in dict(config).items():
        if name not in hints:
            raise ValueError(unknown_name("config field", prefix + name, [prefix + known for known in hints]))
        kind = hints[name]
        nested = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        arguments[name] = _build(kind, value, f"{prefix}{name}.") if nested else _typed(kind, value, prefix + name)
    missing = [f.name for f in dataclasses.fields(cls) if _required(f) and f.name not in arguments]
    if missing:
        raise ValueError(f"config.{prefix}{missing[0]}: is missing and has no default.")
    try:
        return cls(**arguments)
    except ValueError as error:  # a class that is no part of the recipe alone does not know where it stands
        raise error if str(error).startswith("config.") else ValueError(f"config.{prefix}{error}") from None


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _typed(kind: Any, value: Any, name: str) -> Any:
    """Returns `value` as the field's type: lists become tuples and ints floats where the field says so."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(option)[0]
            return tuple(_typed(inner, entry, f"{name}[{index}]") for index, entry in enumerate(value))
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            _require(math.isfinite(value), name, value, "a finite number")
            return float(value)
        if isinstance(option, type) and isinstance(value, option) and (option is bool or not isinstance(value, bool)):
            return value
    wanted = " or ".join(getattr(o, "__name__", str(o)) for o in options).replace("NoneType", "None")
    raise TypeError(f"config.{name}={value!r}: must be of type {wanted}.")
