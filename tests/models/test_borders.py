"""Borders of networks: the contract for each network and border, their smallest inputs, export, and what is refused."""

import functools
import inspect

import contract
import exporting
import jax
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, models
from fcnjax.heads import Head
from fcnjax.layers import Convolution
from fcnjax.layers.convolution.borders import BORDERS

SMALL_FCN = {"width": 3, "depths": (1, 1, 1, 1, 1), "hidden": 5, "decoder": 4}
# One small network of each file of `fcnjax.models`, with every part that has a border.
NETWORKS = {
    "fcn": {"channels": (4, 8), "head": {"hidden": (4,), "kernel": 3}},
    "fcn8s": SMALL_FCN,
    "fcn32s": SMALL_FCN,
    "nin": {"width": 6},
    "all_cnn_c": {"width": 4},
    "convnext_atto": {"width": 4, "depths": (1, 1)},
    "efficientnet_b0": {"width": 0.1, "depths": (1, 2, 1, 1, 1, 1, 1)},
    "resnet_cifar": {"depth": 8, "width": 4},
    "resnet18": {"width": 4, "depths": (1, 1)},
    "resnet50": {"width": 4, "depths": (1, 2)},
}
WITHOUT_PADS = ("fcn", "nin", "all_cnn_c")  # the networks that can be built with border="valid"
OTHERS = [border for border in BORDERS if border != "zero"]  # the tests of networks cover "zero"
PAIRS = [(name, border) for name in NETWORKS for border in OTHERS if border != "valid" or name in WITHOUT_PADS]
FCN = [pair for pair in PAIRS if pair[0] == "fcn"]
# By default padding is poisoned for each border of the fcn, and for one border of each network but the slowest two.
ONE_EACH = [("nin", "valid"), ("all_cnn_c", "circular"), ("fcn8s", "reflect"), ("fcn32s", "replicate")]
ONE_EACH += [("convnext_atto", "reflect"), ("resnet_cifar", "reflect"), ("resnet18", "partial")]


def make(name, border, rank=2, **options):
    options = {**NETWORKS[name], "border": border, **options}
    return models.create(name, classes=3, in_channels=2, rank=rank, rngs=nnx.Rngs(0), **options)


def network(name, border, rank=2, **options):
    """Returns the network without weights: the contract draws them."""
    return nnx.eval_shape(functools.partial(make, name, border, rank, **options))


def draw(sizes):
    return contract.draw_examples(sizes, channels=2, seed=0)


def sampled(*usual, pairs=PAIRS):
    """Returns the pairs as parameters; those that are not among the usual ones are long."""
    return [pytest.param(*pair, marks=[] if pair in usual else pytest.mark.long, id="-".join(pair)) for pair in pairs]


@pytest.mark.parametrize(("name", "border"), sampled(*FCN, *ONE_EACH))
@pytest.mark.parametrize("train", [pytest.param(False, marks=pytest.mark.long), True])
def test_padding_is_never_read(name, border, train):
    model = network(name, border)
    sizes = [np.add(model.min_size, more) for more in ((0, 4), (3, 1))]
    contract.check_poison(model, draw(sizes), train=train)


# The EfficientNet is so deep that its rounding exceeds the tolerance: float32 by 1.2 times, in double it is 1e-14.
SHALLOW = [pair for pair in PAIRS if pair[0] != "efficientnet_b0"]


@pytest.mark.parametrize(
    ("name", "border"), sampled(("fcn", "partial"), ("fcn", "reflect"), ("fcn", "valid"), pairs=SHALLOW)
)
def test_contract(name, border):
    model = network(name, border)
    least = max(model.min_size)
    contract.check(model, draw([(least, least), (least + 2, least + 1)]))
    enough = max(least, 8)  # batch norms of single positions would amplify rounding without bounds
    contract.check_batch(model, draw([(enough + 2, enough), (enough, enough + 3)]), double=True)


@pytest.mark.parametrize(("name", "border"), sampled(*FCN, ("convnext_atto", "circular")))
def test_an_exported_program_takes_any_number_of_examples_of_any_size(name, border):
    model = contract.randomize(network(name, border))
    least = max(model.min_size)
    program = exporting.exported(model, 2, 2, least)
    sizes = [(least, least + 4), (least + 1, least + 2)], [(least + 3, least + 1)] * 3
    exporting.check_export(model, program, [Padded.stack(draw(each)) for each in sizes])


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_has_the_option_and_its_default_is_zero(name):
    assert inspect.signature(models.MODELS[name]).parameters["border"].default == "zero"


def test_a_network_of_every_family_is_in_the_contract():
    families = {getattr(make, "func", make) for make in models.MODELS.values()}
    assert {getattr(make, "func", make) for make in map(models.MODELS.get, NETWORKS)} == families


def convolutions(model):
    return [module for _, module in nnx.iter_modules(model) if isinstance(module, Convolution)]


@pytest.mark.parametrize(("name", "border"), PAIRS)
def test_every_convolution_with_pads_has_the_border(name, border):
    usual, ours = (convolutions(network(name, each)) for each in ("zero", border))
    padded = [any(sum(window.padding) for window in convolution.window(2)) for convolution in usual]
    assert any(padded)
    for convolution, pads in zip(ours, padded, strict=True):
        assert not pads or convolution.border == border
        assert border != "valid" or not any(sum(window.padding) for window in convolution.window(2))


@pytest.mark.parametrize(("border", "mode"), [("replicate", "edge"), ("reflect", "reflect"), ("circular", "wrap")])
def test_an_axis_without_pads_has_no_border_and_the_others_have_theirs(border, mode):
    layer = Convolution(2, 3, (3, 1), rank=2, padding=[(1, 1), (0, 0)], border=border, rngs=nnx.Rngs(0))
    plain = Convolution(2, 3, (3, 1), rank=2, padding=[(0, 0), (0, 0)], rngs=nnx.Rngs(0))
    (values,) = draw([(5, 4)])
    extended = np.pad(values, [(1, 1), (0, 0), (0, 0)], mode=mode)
    found, wanted = (each(Padded.stack([x])).unstack()[0] for each, x in ((layer, values), (plain, extended)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_head_may_have_a_border_of_its_own():
    model = network("fcn", "reflect", head={"kernel": 3, "border": "circular"})
    assert [convolution.border for convolution in convolutions(model)] == ["reflect", "reflect", "circular"]


@pytest.mark.parametrize("name", ["fcn", "resnet_cifar"])
def test_initial_weights_do_not_depend_on_the_border(name):
    first, *others = (
        jax.jit(lambda border=border: nnx.to_pure_dict(nnx.state(make(name, border))))()
        for border in ("zero", "reflect", "partial")
    )
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, other, first)


SMALLEST = {  # of the networks with their defaults: where a map must not be smaller than what its border reads
    ("fcn", "zero"): 8,
    ("fcn", "replicate"): 8,
    ("fcn", "reflect"): 8,
    ("fcn", "valid"): 22,
    ("nin", "zero"): 4,
    ("nin", "reflect"): 8,  # 2 positions for the 3x3 convolution of the last block
    ("nin", "valid"): 24,
    ("all_cnn_c", "reflect"): 9,
    ("all_cnn_c", "valid"): 27,
    ("resnet18", "partial"): 1,
    ("resnet18", "reflect"): 33,  # 2 positions in the last stage
    ("resnet18", "circular"): 3,  # the 7x7 convolution reads 3 positions from the opposite edge
    ("resnet_cifar", "reflect"): 5,
    ("convnext_atto", "reflect"): 128,  # 7x7 convolutions on 4 positions
    ("convnext_atto", "circular"): 96,
    ("efficientnet_b0", "reflect"): 65,  # 5x5 convolutions on 3 positions
    ("fcn8s", "reflect"): 97,  # a 7x7 convolution on 4 positions, after five halvings that round up
    ("fcn8s", "circular"): 65,
}


@pytest.mark.parametrize(("name", "border"), SMALLEST)
def test_smallest_inputs(name, border):
    model = nnx.eval_shape(
        lambda: models.create(name, classes=3, in_channels=3, rank=1, rngs=nnx.Rngs(0), border=border)
    )
    least = SMALLEST[name, border]
    assert model.min_size == (least,)
    assert all(min(row.size, default=1) > 0 for row in model.trace((least,)))
    if least > 1:
        with pytest.raises(ValueError, match=f"size {least - 1}: below this network's minimum size {least}"):
            model.trace((least - 1,))


def test_a_size_too_small_for_the_border_is_told_so():
    for border, remedy in (("reflect", "fewer strides, or another border such as 'zero'"), ("zero", "fewer strides.$")):
        model = network("resnet_cifar", border)
        for size in [(4, 9)] if border == "reflect" else [(0, 9)]:
            with pytest.raises(ValueError, match=remedy):
                model.check_sizes(np.array([size]))
    with pytest.raises(ValueError, match="padded shape 4x9: below this network's minimum size 5x5.*another border"):
        jax.eval_shape(lambda batch: network("resnet_cifar", "reflect")(batch), Padded.stack([np.ones((4, 9, 2))]))


def test_without_pads_the_maps_shrink_and_the_receptive_field_stays():
    model = network("fcn", "valid", channels=(4, 8, 8), head={})
    rows = model.trace((28, 22))
    assert [row.size for row in rows[:4]] == [(28, 22), (13, 10), (5, 4), (1, 1)]
    assert (model.stride, model.receptive_field) == ((8, 8), (22, 22))
    maps = contract.call(contract.randomize(model), Padded.stack(draw([(28, 22), (30, 30)])), method="class_maps")
    assert maps.sizes.tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("name", "border", "message"),
    [
        *(
            (name, "valid", "border='valid' of the .*: must be one of zero, partial, replicate, reflect, circular,")
            for name in NETWORKS
            if name not in WITHOUT_PADS
        ),
        *((name, "reflct", "unknown border 'reflct': did you mean 'reflect'") for name in NETWORKS),
        ("fcn", None, "border=None of model 'fcn': must be a string"),
    ],
)
def test_borders_that_do_not_suit_are_refused(name, border, message):
    with pytest.raises(ValueError, match=message):
        network(name, border)


def test_an_unknown_border_of_a_head_is_refused_without_a_convolution_too():
    with pytest.raises(ValueError, match="unknown border 'reflct': did you mean 'reflect'"):
        Head(4, 3, border="reflct", rngs=nnx.Rngs(0))
