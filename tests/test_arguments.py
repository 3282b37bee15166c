"""Types of arguments: what fits an annotation, and one sentence for what does not, across the public constructors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import fcnjax
from fcnjax import Padded, geometry, heads, layers, models, pooling
from fcnjax.arguments import check_arguments, described, fits, shown

RNGS = nnx.Rngs(0)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, (1, np.int64(3)), (1.0, True, "1", None, np.float32(1), [1])),
        (float, (1, 1.5, np.float32(2), jnp.float32(1)), ("1", None, True, [1.0], 1j)),
        (bool, (True, np.bool_(False)), (1, 0, None, "True")),
        (str, ("a",), (b"a", 1, None)),
        (str | None, ("a", None), (1,)),
        (int | Sequence[int], (1, (1, 2), [3], np.array([1, 2])), (1.0, "12", (1.5, 2), (1, "2"), {1: 2})),
        (geometry.Padding, ("same", 1, (1, 2), [(1, 2), [0, 0]]), (None, 1.0, ((1, 2, 3),), ((0.5, 1),))),
        (Mapping[str, Any] | None, ({}, None, {"a": 1}), ("a", [1], 3)),
        (Callable[[Any], Any], (jax.nn.relu, len), ("relu", None)),
        (Sequence[layers.Layer], ([layers.LogSoftmax()], ()), ([jax.nn.relu], layers.LogSoftmax(), None)),
        (Any, (1, None), ()),
        (pooling.Pool, (pooling.Mean(), 3), ()),  # a protocol: checked by who takes it
    ],
)
def test_what_fits_an_annotation(kind, good, bad):
    assert [value for value in good if not fits(value, kind)] == []
    assert [value for value in bad if fits(value, kind)] == []


def test_what_is_allowed_is_said_in_words():
    assert described(int | Sequence[int]) == "a whole number or a sequence of whole numbers"
    wanted = "a string or a whole number or a sequence of whole numbers or a sequence of groups of 2 whole numbers"
    assert described(geometry.Padding) == wanted
    assert described(Mapping[str, Any] | None) == "a dictionary of options or None"
    assert described(Sequence[Sequence[layers.Layer]]) == "a sequence of sequences of Layers"


def test_a_long_value_is_not_shown_in_full():
    assert shown("a") == "'a'"
    assert shown(np.zeros((9, 9))) == "a ndarray"


def test_an_annotation_that_only_type_checkers_know_allows_anything():
    def takes(value: "Unknown"):  # noqa: F821  # pyright: ignore
        return value

    check_arguments("the layer", takes, {"value": 1})


# Each would give an error of Python, numpy or JAX without the name of the argument, or none until much later.
WRONG = {
    "kernel=3.0 of Convolution: must be a whole number": lambda: layers.Convolution(1, 2, 3.0, rngs=RNGS),
    "kernel='33' of Convolution: must be a whole number": lambda: layers.Convolution(1, 2, "33", rngs=RNGS),
    "stride=None of Convolution: must be": lambda: layers.Convolution(1, 2, 3, stride=None, rngs=RNGS),
    "padding=1.5 of Convolution: must be": lambda: layers.Convolution(1, 2, 3, padding=1.5, rngs=RNGS),
    "rank=2.0 of Convolution: must be a whole number": lambda: layers.Convolution(1, 2, 3, rank=2.0, rngs=RNGS),
    "groups='1' of Convolution: must be": lambda: layers.Convolution(1, 2, 3, groups="1", rngs=RNGS),
    "border=None of Convolution: must be a string": lambda: layers.Convolution(1, 2, 3, border=None, rngs=RNGS),
    "rngs=0 of Convolution: must be an nnx.Rngs, such as nnx.Rngs(0)": lambda: layers.Convolution(1, 2, 3, rngs=0),
    "channels='8' of Pointwise: must be a whole number": lambda: layers.Pointwise(1, "8", rngs=RNGS),
    "kernel=4.0 of TransposedConvolution: must be": lambda: layers.TransposedConvolution(1, 2, 4.0, rngs=RNGS),
    "kernel=(2, 2.5) of MaxPool: must be": lambda: layers.MaxPool((2, 2.5)),
    "p='2' of LPPool: must be a number": lambda: layers.LPPool(2, "2"),
    "kernel=2.0 of BlurPool: must be a whole number": lambda: layers.BlurPool(2.0),
    "channels=None of BatchNorm: must be a whole number": lambda: layers.BatchNorm(None),
    "momentum='0.9' of BatchNorm: must be a number": lambda: layers.BatchNorm(4, momentum="0.9"),
    "epsilon=None of LayerNorm: must be a number": lambda: layers.LayerNorm(4, epsilon=None),
    "groups=2.0 of GroupNorm: must be a whole number": lambda: layers.GroupNorm(4, 2.0),
    "rate='0.1' of ChannelDropout: must be a number": lambda: layers.ChannelDropout("0.1"),
    "function='relu' of Activation: must be a function": lambda: layers.Activation("relu"),
    "channels=4.5 of LayerScale: must be a whole number": lambda: layers.LayerScale(4.5),
    "activation='relu' of SqueezeExcite: must be": lambda: layers.SqueezeExcite(4, 2, activation="relu", rngs=RNGS),
    "factor=2.0 of Upsample: must be": lambda: layers.Upsample(2.0),
    "levels=4 of SpatialPyramidPool: must be a sequence": lambda: layers.SpatialPyramidPool(4),
    "unknown method of SpatialPyramidPool 'maximum'": lambda: layers.SpatialPyramidPool((1, 2), "maximum"),
    "unknown method of Upsample 'cubic'": lambda: layers.Upsample(2, "cubic"),
    "unknown border 'mirror'": lambda: layers.Convolution(1, 2, 3, border="mirror", rngs=RNGS),
    "sample_rate='8k' of LogMel: must be a number": lambda: layers.LogMel("8k"),
    "time_masks=1.5 of SpecAugment: must be a whole number": lambda: layers.SpecAugment(1.5),
    "of Sequential: must be a Layer": lambda: layers.Sequential([jax.nn.relu]),
    "of Residual: must be a sequence of Layers": lambda: layers.Residual(layers.LogSoftmax()),
    "branches[0]=LogSoftmax() of Concatenate: must be": lambda: layers.Concatenate([layers.LogSoftmax()]),
    "kernel=3.0 of a window: must be a whole number": lambda: geometry.Window(3.0),
    "padding=(1,) of a window: must be a group of 2 whole numbers": lambda: geometry.Window(3, padding=(1,)),
    "stride='2' of an expansion: must be a whole number": lambda: geometry.Expansion(3, "2"),
    "kernel=3.0: must be one int, or 2 ints for 2 spatial axes": lambda: geometry.windows(2, 3.0),
    "padding=(0.5, 1): must be an int, or 2 ints or pairs": lambda: geometry.windows(2, 3, padding=(0.5, 1)),
    "rank='2': must be 1 to 3 spatial axes": lambda: geometry.windows("2", 3),
    "k='5' of top-k pooling: must be a whole number": lambda: pooling.TopKMean("5"),
    "r=None of log-sum-exp pooling: must be a number": lambda: pooling.LogSumExp(None),
    "p='3' of GeM pooling: must be a number": lambda: pooling.GeM("3"),
    "heads=2.0 of Attention: must be a whole number": lambda: pooling.Attention(4, 2.0, rngs=RNGS),
    "alpha='0' of AutoPool: must be a number": lambda: pooling.AutoPool(4, "0"),
    "r='5' of LearnableLogSumExp: must be a number": lambda: pooling.LearnableLogSumExp("5"),
    "unknown pool 3. Known:": lambda: pooling.create(3),
    "hidden=5 of Head: must be a sequence of whole numbers": lambda: heads.Head(8, 3, hidden=5, rngs=RNGS),
    "hidden[1]='a' of Head: must be a whole number": lambda: heads.Head(8, 3, hidden=(4, "a"), rngs=RNGS),
    "dropout='0.5' of Head: must be a number": lambda: heads.Head(8, 3, dropout="0.5", rngs=RNGS),
    "kernel=3.0 of Head: must be a whole number": lambda: heads.Head(8, 3, kernel=3.0, rngs=RNGS),
    "extent=3 of FlattenDenseHead: must be": lambda: heads.FlattenDenseHead(8, 3, 3, rngs=RNGS),
    "options='gap' of the head: must be a dictionary": lambda: heads.make_head(8, 3, "gap", rank=2, rngs=RNGS),
    "head='gap' of model 'fcn': must be a dictionary of options or None": lambda: make("fcn", head="gap"),
    "channels=32 of model 'fcn': must be a sequence": lambda: make("fcn", channels=32),
    "depth='20' of model 'resnet_cifar': must be a whole": lambda: make("resnet_cifar", depth="20"),
    "width=64.0 of model 'resnet18': must be a whole": lambda: make("resnet18", width=64.0),
    "depths=3 of model 'convnext_tiny': must be a sequence": lambda: make("convnext_tiny", depths=3),
    "width='1' of model 'efficientnet_b0': must be a number": lambda: make("efficientnet_b0", width="1"),
    "rngs=0 of model 'fcn': must be an nnx.Rngs": lambda: make("fcn", rngs=0),
    "classes='3' of model 'fcn': must be a whole number": lambda: make("fcn", classes="3"),
    "classes=0 of model 'fcn': must be at least 1": lambda: make("fcn", classes=0),
    "frontend='log_mel' of model 'fcn': must be": lambda: make("fcn", rank=1, frontend="log_mel"),
    "unknown model None. Known:": lambda: make(None),
    "unknown dtype <class 'float'>": lambda: make("fcn", dtype=float),
    "size=28: must be one whole number per spatial axis, 2 in all": lambda: make("fcn").trace(28),
    "size=(28.5, 16): must be one whole number": lambda: make("fcn").trace((28.5, 16)),
    "unknown block 3. Known:": lambda: make("fcn").features(batch(), until=3),
    "examples=5 of Padded.stack: must be a sequence of arrays": lambda: Padded.stack(5),
    "example 1='ab': must be an array of numbers": lambda: Padded.stack([np.ones((2, 1)), "ab"]),
    "example 0=[[1], [1, 2]]: must be an array of numbers": lambda: Padded.stack([[[1], [1, 2]]]),
    "shape=28 of Padded.stack: must be a sequence": lambda: Padded.stack([np.ones((2, 2, 1))], 28),
    "shape=(28.5, 28) of Padded.stack: must be": lambda: Padded.stack([np.ones((2, 2, 1))], (28.5, 28)),
    "batch_size=2.0 of Padded.stack: must be": lambda: Padded.stack([np.ones((2, 1))], batch_size=2.0),
    "sizes of type list: must be an array": lambda: Padded(jnp.ones((1, 2, 1)), [[2]]),
}


def make(name, *, classes=3, rngs=RNGS, **options):
    return models.create(name, classes=classes, in_channels=2, rngs=rngs, **options)


def batch(rows=2):
    return Padded.stack([np.ones((8, 8, 2), np.float32)] * rows)


@pytest.mark.parametrize("sentence", WRONG)
def test_a_wrong_argument_gets_one_sentence(sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message follows)
        WRONG[sentence]()
    said = str(caught.value)
    assert sentence in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2)])
def test_a_wrong_number_of_keys_gets_one_sentence(shape):
    keys = jax.random.split(jax.random.key(0), shape) if shape else jax.random.key(0)
    for network in (make("fcn"), make("fcn", dropout=0.5)):
        with pytest.raises(
            ValueError, match=r"keys of shape .*: this network takes one PRNG key for each of the 2 rows"
        ):
            network(batch(), train=True, keys=keys)
    for layer in (layers.ChannelDropout(0.5), layers.StochasticDepth(0.5)):
        with pytest.raises(ValueError, match=r"make them with jax.random.split\(key, 2\)\.$"):
            layer(batch(), train=True, keys=keys)


def test_keys_of_both_kinds_are_taken():
    network = make("fcn", dropout=0.5)
    for key in (jax.random.key(0), jax.random.PRNGKey(0)):
        network(batch(), train=True, keys=jax.random.split(key, 2))
    with pytest.raises(ValueError, match="keys of shape \\(2,\\)"):
        network(batch(), train=True, keys=jax.random.PRNGKey(0))


def test_missing_arguments_are_named_by_python():
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'rngs'"):
        fcnjax.Head(8, 3)
