"""Features after each block: names, agreement with logits, exactness under padding; the scopes of a profile."""

import contract
import jax
import numpy as np
import pytest
from flax import nnx

from fcnjax import Head, Padded, models
from fcnjax.layers import Pointwise
from fcnjax.models import Block, Classifier

FRONTEND = {"sample_rate": 10, "window": 0.4, "hop": 0.2, "mels": 3, "floor": 1e-3}  # 4 samples, 2 apart
NETWORKS = {
    "fcn": {"channels": (4, 8)},
    "resnet_cifar": {"depth": 8, "width": 4},
    "fcn8s": {"width": 3, "depths": (1, 1, 1, 1), "hidden": 5, "decoder": 4},  # cuts its features to the input
    "log_mel": {"channels": (4,), "kernel": 3, "rank": 1, "frontend": FRONTEND},
}
SIZES = {1: [(23,), (16,)], 2: [(9, 8), (5, 9)]}


def make(label):
    options = {"classes": 3, "in_channels": 2, **NETWORKS[label]}
    name = "fcn" if label == "log_mel" else label
    return contract.randomize(nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0), **options)))


def draw(model):
    return contract.draw_examples(SIZES[model.rank], 2, seed=0)


def intermediates_of(model, batch):
    """Returns the intermediates, compiled; `jit` sorts the keys of dicts, so the names are stored separately."""
    names = []

    @nnx.jit
    def compiled(model, batch):
        named = model.intermediates(batch)
        names[:] = named
        return list(named.values())

    outputs = compiled(model, batch)
    return dict(zip(names, outputs, strict=True))


@pytest.mark.parametrize("label", NETWORKS)
def test_intermediates_are_the_rows_of_the_trace(label):
    model = make(label)
    intermediates = intermediates_of(model, Padded.stack(draw(model)))
    rows = model.trace(SIZES[model.rank][0])[1 : len(intermediates) + 1]
    assert list(intermediates) == [row.layer for row in rows]
    for row, features in zip(rows, intermediates.values(), strict=True):
        assert features.unstack()[0].shape == (*row.size, row.channels)


@pytest.mark.parametrize("label", NETWORKS)
def test_features_are_the_intermediates_and_lead_to_the_logits(label):
    model = make(label)
    batch = Padded.stack(draw(model))

    @nnx.jit
    def compiled(model, batch):
        intermediates, features = model.intermediates(batch), model.features(batch)
        until = {name: model.features(batch, name) for name in intermediates}
        return (intermediates, features, model(batch)), (until, [*intermediates.values()][-1], model.head(features))

    contract.assert_close(*compiled(model, batch), "intermediates, features, logits")


@pytest.mark.parametrize("label", NETWORKS)
def test_intermediates_do_not_depend_on_padding(label):
    """An example alone against the same example in a larger padded shape with a batch mate and a filler row."""
    model, examples = make(label), draw(make(label))
    alone = intermediates_of(model, Padded.stack(examples[:1]))
    shape = [n + 3 for n in SIZES[model.rank][0]]
    together = intermediates_of(model, Padded.stack(examples[::-1], shape=shape, batch_size=3))
    assert list(together) == list(alone)
    for name, features in together.items():
        contract.assert_close(features.unstack()[1], alone[name].unstack()[0], name)
        outside = ~np.broadcast_to(features.mask, features.values.shape)
        assert not np.asarray(features.values)[outside].any(), f"{name}: not zero outside the examples"


def test_intermediates_are_computed_in_the_networks_dtype_and_checked_as_calls():
    model = make("log_mel")
    model.dtype = "bfloat16"
    signals = Padded.stack(draw(model))
    found = jax.eval_shape(model.intermediates, signals)
    assert {name: features.values.dtype.name for name, features in found.items()} == {
        "log_mel": "float32",
        "conv1": "bfloat16",
    }
    for method in (model.features, model.intermediates):
        with pytest.raises(ValueError, match="example 0 of size 3: below this network's minimum size 4"):
            method(Padded.stack([np.ones((3, 2))]))


def test_an_unknown_block_is_named_with_the_nearest():
    model = make("resnet_cifar")
    with pytest.raises(ValueError, match="unknown block 'stage4': did you mean 'stage.'. Known: stage1, .*, stem"):
        model.features(Padded.stack(draw(model)), until="stage4")


@pytest.mark.parametrize("names", [(), ("conv", "conv")])
def test_blocks_without_names_of_their_own_are_refused(names):
    rngs = nnx.Rngs(0)
    blocks = [Block(name, [Pointwise(2, 2, rngs=rngs)]) for name in names]
    with pytest.raises(ValueError, match=r"blocks=\[.*\]: must be one or more blocks with different names"):
        Classifier(blocks, Head(2, 3, rngs=rngs), in_channels=2, rank=2)


@pytest.mark.parametrize(("train", "remat"), [(False, False), (True, False), (True, True)])
def test_a_profile_names_the_blocks_and_the_head(train, remat):
    model = make("resnet_cifar")
    model.remat = remat
    lowered = nnx.jit(lambda model, batch: model(batch, train=train)).lower(model, Padded.stack(draw(model)))
    text = lowered.as_text(debug_info=True)
    for name in ("stem", "stage1", "stage2", "stage3", "head"):
        assert f"/{name}/" in text, name
