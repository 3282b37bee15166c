"""Networks: the contract, shape tables, published parameter counts, and rejected arguments."""

import functools

import contract
import exporting
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import strategies as st

from fcnjax import Padded, models, pooling
from fcnjax.models.dense_fcn import dense_fcn


def attention(channels, rngs):
    return pooling.Attention(channels, heads=2, rngs=rngs)


CONVNEXTS = [f"convnext_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base")]
SMALL_FCN = {"width": 3, "depths": (1, 1, 1, 1, 1), "hidden": 5, "decoder": 4}

# Small networks that cover every norm, dropout, hidden layers, every order, and every registered name.
NETWORKS = {
    "fcn batch": ("fcn", {"norm": "batch"}),
    "fcn group": ("fcn", {"norm": "group", "head": {"hidden": (5,), "pool_at": 0, "pool": attention}}),
    "fcn layer": ("fcn", {"norm": "layer", "head": {"hidden": (5,), "pool_at": 2, "pool": pooling.LogSumExp(1.0)}}),
    "fcn none": (
        "fcn",
        {"norm": "none", "dropout": 0.3, "head": {"dropout": 0.3, "pool": pooling.Max(), "pool_at": 1}},
    ),
    "fcn3x3": (
        "fcn",
        {"norm": "batch", "head": {"norm": "batch", "hidden": (4,), "kernel": 3, "score_activation": "tanh"}},
    ),
    "fcn max_pool": ("fcn", {"downsampling": "max_pool"}),
    "fcn dilation": ("fcn", {"downsampling": "dilation", "norm": "group"}),
    "fcn8s": ("fcn8s", SMALL_FCN),
    "fcn32s": ("fcn32s", SMALL_FCN),
    "nin": ("nin", {"width": 6}),
    "all_cnn_c": ("all_cnn_c", {"width": 4}),
    "convnext_atto": ("convnext_atto", {"width": 4, "depths": (1, 1)}),
    **{name: (name, {"width": 2, "depths": (1,)}) for name in CONVNEXTS[1:]},
    "efficientnet_b0": ("efficientnet_b0", {"width": 0.1, "depths": (1, 2, 1, 1, 1, 1, 1)}),
    "resnet_cifar": ("resnet_cifar", {"depth": 8, "width": 4}),
    "resnet18": ("resnet18", {"width": 4, "depths": (1, 1)}),
    "resnet34": ("resnet34", {"width": 4, "depths": (1, 2)}),
    "resnet50": ("resnet50", {"width": 4, "depths": (1, 2)}),
}
# These networks consist of parts of the others and take minutes to compile; the poison test and the oracles cover them.
DEEP = (*CONVNEXTS[1:], "resnet18", "resnet34", "resnet50", "efficientnet_b0", "fcn32s")


def make(name="fcn", rank=2, **options):
    options = {"channels": (4, 8), **options} if name == "fcn" else options
    return models.create(name, classes=3, in_channels=2, rank=rank, rngs=nnx.Rngs(0), **options)


def network(label, rank):
    """Returns the network without weights: the contract draws them."""
    name, options = NETWORKS[label]
    return nnx.eval_shape(lambda: make(name, rank, **options))


def test_every_network_is_in_the_contract():
    """A new network needs an entry in NETWORKS, over which the tests below run."""
    assert {name for name, _ in NETWORKS.values()} == set(models.MODELS)


def draw(sizes, seed=0):
    return contract.draw_examples(sizes, channels=2, seed=seed)


IMAGES = [(label, 2) for label in NETWORKS]
SIGNALS = [(label, 1) for label in NETWORKS if label.startswith("fcn")]
OTHER_SIGNALS = [(label, 1) for label in ("nin", "all_cnn_c", "resnet_cifar", "convnext_atto", "efficientnet_b0")]


@pytest.mark.parametrize(("label", "rank"), [case for case in [*IMAGES, *SIGNALS] if case[0] not in DEEP])
def test_contract(label, rank):
    model = network(label, rank)
    contract.check_drawn(model, rank, 2, minimum=max(model.min_size))
    contract.check_batch(model, draw({1: [(13,), (12,), (9,)], 2: [(9, 8), (8, 9), (9, 9)]}[rank]), double=True)


@pytest.mark.parametrize(
    ("label", "rank", "train"),
    [
        *[(*case, True) for case in [*IMAGES, *SIGNALS, *OTHER_SIGNALS]],
        *[(label, 2, False) for label, _ in SIGNALS],
    ],
)
def test_padding_is_never_read(label, rank, train):
    model = network(label, rank)
    sizes = [np.maximum(size[:rank], model.min_size) for size in ((5, 5), (9, 4))]
    contract.check_poison(model, draw(sizes), train=train)


@pytest.mark.parametrize("label", NETWORKS)
def test_an_exported_program_takes_any_number_of_examples_of_any_size(label):
    """The deep networks are exported, serialized and loaded, but not compiled, which would take minutes."""
    model = contract.randomize(network(label, 2))
    least = max(model.min_size)
    program = exporting.exported(model, 2, 2, least)
    assert str(program.out_avals[0].shape) == "(b, 3)"
    if label not in DEEP:
        sizes = [(least, least + 9), (least + 1, least + 2)], [(least + 6, least + 1)] * 3
        exporting.check_export(model, program, [Padded.stack(draw(each, seed=1)) for each in sizes])


@pytest.mark.parametrize("label", [label for label in NETWORKS if label not in DEEP])
def test_a_batch_of_no_rows_gives_no_logits(label):
    for train in (False, True):
        assert contract.of_no_rows(network(label, 2), (33, 33), 2, train=train).shape == (0, 3)


def test_no_rows_are_evaluated_and_leave_the_running_statistics():
    model = contract.randomize(network("fcn batch", 2))
    nothing = Padded(jnp.zeros((0, 9, 9, 2)), jnp.zeros((0, 2), jnp.int32))
    before = jax.tree.map(np.asarray, nnx.state(model, nnx.BatchStat))
    keys = jax.random.split(jax.random.key(0), 1)[:0]
    assert contract.call(model, nothing, train=True, keys=keys).shape == (0, 3)
    assert contract.call(model, nothing, method="class_maps").values.shape == (0, 2, 2, 3)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), nnx.state(model, nnx.BatchStat), before)
    with pytest.raises(ValueError, match=r"values of shape \(0, 9, 2\): this network takes"):
        model(Padded(jnp.zeros((0, 9, 2)), jnp.zeros((0, 1), jnp.int32)))
    with pytest.raises(ValueError, match=r"sizes of shape \(0, 3\): this network takes 2 spatial axes"):
        model.check_sizes(np.zeros((0, 3), np.int32))


@pytest.mark.parametrize(
    ("downsampling", "field", "stride", "sizes"),
    [
        ("stride", 10, 4, [14, 7]),
        ("max_pool", 13, 4, [14, 7]),
        ("dilation", 10, 1, [28, 28]),
        ("none", 7, 1, [28, 28]),
    ],
)
def test_ways_to_downsample_have_weights_of_one_shape(downsampling, field, stride, sizes):
    model, plain = (nnx.eval_shape(functools.partial(make, **given)) for given in ({"downsampling": downsampling}, {}))
    assert model.receptive_field == (field, field)
    assert model.stride == (stride, stride)
    assert [row.size[0] for row in model.trace((28, 28))[1:3]] == sizes
    shapes, expected = ([array.shape for array in jax.tree.leaves(nnx.state(each))] for each in (model, plain))
    assert shapes == expected


def test_dilations_give_the_features_of_strides_at_every_position():
    """The algorithme a trous: at every fourth position, the same weights give what two blocks of stride 2 give."""
    strided, dilated = (make(downsampling=each, border="zero") for each in ("stride", "dilation"))
    nnx.update(dilated, nnx.state(contract.randomize(strided)))
    batch = Padded.stack(draw([(12, 16), (16, 8)]))
    features, dense = strided.features(batch).unstack(), dilated.features(batch).unstack()
    for expected, found in zip(features, dense, strict=True):
        np.testing.assert_allclose(found[::4, ::4], expected, rtol=1e-4, atol=1e-5)
        assert not np.allclose(found[1::4, 1::4], expected, atol=1e-2)


def test_an_unknown_way_to_downsample_is_refused():
    with pytest.raises(ValueError, match="stride"):
        make(downsampling="strides")


RESNET_SIZES = CONVNEXT_SIZES = [56, 56, 28, 14, 7]


@pytest.mark.parametrize(
    ("name", "parameters", "products", "sizes"),
    # torchvision's counts for 1,000 classes and 224 x 224 pixels. For the four small ConvNeXts timm publishes only 3.7,
    # 5.2, 9.1 and 15.6 million; the exact counts here follow from their widths and depths.
    [
        ("convnext_atto", 3_695_520, 0.5473e9, CONVNEXT_SIZES),
        ("convnext_femto", 5_217_784, 0.7796e9, CONVNEXT_SIZES),
        ("convnext_pico", 9_045_672, 1.3671e9, CONVNEXT_SIZES),
        ("convnext_nano", 15_593_560, 2.4456e9, CONVNEXT_SIZES),
        ("convnext_tiny", 28_589_128, 4.456e9, CONVNEXT_SIZES),
        ("convnext_small", 50_223_688, 8.684e9, CONVNEXT_SIZES),
        ("convnext_base", 88_591_464, 15.355e9, CONVNEXT_SIZES),
        ("efficientnet_b0", 5_288_548, 0.386e9, [112, 112, 56, 28, 14, 14, 7, 7]),
        ("resnet18", 11_689_512, 1.814e9, RESNET_SIZES),
        ("resnet34", 21_797_672, 3.664e9, RESNET_SIZES),
        ("resnet50", 25_557_032, 4.089e9, RESNET_SIZES),
    ],
)
def test_parameters_and_products_are_the_published_ones(name, parameters, products, sizes):
    model = nnx.eval_shape(lambda: models.create(name, classes=1000, in_channels=3, rngs=nnx.Rngs(0)))
    rows = model.trace((224, 224))
    assert sum(row.parameters for row in rows) == parameters
    assert sum(row.multiply_adds for row in rows) == pytest.approx(products, rel=1e-3)
    assert [row.size for row in rows[1 : len(sizes) + 1]] == [(n, n) for n in sizes]
    assert model.stride == (32, 32)
    assert model.min_size == ((32, 32) if "convnext" in name else (1, 1))


@pytest.mark.parametrize(("name", "parameters"), [("nin", 966_986), ("all_cnn_c", 1_369_738)])
def test_parameters_for_cifar_are_the_published_ones(name, parameters):
    model = nnx.eval_shape(lambda: models.create(name, classes=10, in_channels=3, rngs=nnx.Rngs(0)))
    rows = model.trace((32, 32))
    assert sum(row.parameters for row in rows) == parameters
    assert rows[-4].size == {"nin": (8, 8), "all_cnn_c": (6, 6)}[name]  # the maps that are averaged


def test_dense_class_maps_are_as_large_as_the_input():
    model = contract.randomize(network("fcn8s", 2))
    examples = draw([(37, 20), (8, 9), (1, 1)])
    batch = Padded.stack(examples)
    maps = contract.call(model, batch, method="class_maps")
    assert maps.sizes.tolist() == batch.sizes.tolist()
    rows = {row.layer: row.size for row in model.trace((37, 20))}
    assert (rows["decoder"], rows["cut to input"], rows["linear 3"]) == ((40, 24), (37, 20), (37, 20))
    assert (model.stride, model.feature_size((37, 20))) == ((1, 1), (37, 20))
    with pytest.raises(ValueError, match="finest=7 of the dense FCN: must be the stride of a stage, one of .2, 4, 8,"):
        dense_fcn(7, classes=3, in_channels=2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("label", ["fcn batch", "fcn group", "resnet_cifar"])
def test_bfloat16_keeps_weights_statistics_and_pooled_sums_in_float32(label):
    """Sums are exact even in bfloat16: the mean of 5,000 positions of a constant is the constant."""
    name, options = NETWORKS[label]
    fine, coarse = (
        contract.randomize(nnx.eval_shape(functools.partial(make, name, dtype=dtype, **options)))
        for dtype in (None, "bfloat16")
    )
    batch = Padded.stack(draw([(30, 20), (13, 31)]))
    for train in (False, True):
        expected, logits = (contract.call(model, batch, train=train) for model in (fine, coarse))
        assert logits.dtype == jnp.float32
        scale = np.abs(expected).max()
        assert 1e-5 * scale < np.abs(logits - expected).max() < 0.1 * scale
    assert jax.eval_shape(lambda batch: coarse.features(batch), batch).values.dtype == jnp.bfloat16
    for leaf in jax.tree.leaves(nnx.state(coarse, (nnx.Param, nnx.BatchStat))):
        assert leaf.dtype == jnp.float32
    constant = Padded(jnp.full((1, 5000, 2), 1.1, jnp.bfloat16), jnp.array([[5000]]))
    np.testing.assert_allclose(pooling.pool(constant, pooling.Mean()).values, jnp.bfloat16(1.1).astype(jnp.float32))


def test_the_same_network_takes_signals():
    signal = make(rank=1)
    assert contract.call(signal, Padded.stack([np.ones((30, 2), np.float32)])).shape == (1, 3)
    assert (signal.min_size, signal.stride, signal.receptive_field) == ((4,), (4,), (10,))


def the_threads_network(**options):
    return models.create("fcn", classes=10, in_channels=1, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((28, 28), [(28, 28), (14, 14), (7, 7), (3, 3)]),
        ((28, 16), [(28, 16), (14, 8), (7, 4), (3, 2)]),
    ],
)
def test_trace_is_the_threads_table(size, sizes):
    rows = the_threads_network().trace(size)
    assert [row.size for row in rows[:4]] == sizes
    assert [row.channels for row in rows[:4]] == [1, 32, 64, 128]
    assert (rows[4].layer, rows[4].size, rows[4].channels) == ("linear 10", sizes[-1], 10)
    assert (rows[-1].layer, rows[-1].size, rows[-1].channels) == ("scores", (), 10)


@hypothesis.settings(max_examples=3)
@hypothesis.given(
    st.tuples(st.integers(8, 20), st.integers(8, 20)),
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from(["mean", attention]),
)
def test_trace_agrees_with_what_is_computed(size, pool_at, pool):
    model = the_threads_network(head={"hidden": (6,), "pool_at": pool_at, "pool": pool})
    rows = model.trace(size)
    features = contract.call(model, Padded.stack([np.ones((*size, 1), np.float32)]), method="features")
    assert rows[3].size == features.spatial_shape == model.feature_size(size)
    assert features.sizes.tolist() == [list(rows[3].size)]
    weights = nnx.state(model, nnx.Param)
    assert sum(row.parameters for row in rows) == sum(x.size for x in nnx.to_flat_state(weights).leaves)
    assert sum(row.multiply_adds for row in rows[4:]) == model.head_multiply_adds(size)
    assert rows[3].multiply_adds == np.prod(rows[3].size) * 4 * 4 * 64 * 128


def test_receptive_field_is_what_the_gradient_reaches():
    model = contract.randomize(nnx.eval_shape(lambda: make(norm="none", channels=(4, 8, 8))))
    values = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 2)), jnp.float32)

    def one_output(values):
        return model.features(Padded(values, jnp.array([[64, 64]]))).values[0, 4, 4].sum()

    reached = np.abs(jax.jit(jax.grad(one_output))(values))[0].sum(-1) > 0
    extent = tuple(int(np.ptp(axis)) + 1 for axis in np.nonzero(reached))
    assert extent == model.receptive_field == (22, 22)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fcn", {"norm": "group", "channels": (4, 8)}),
        ("efficientnet_b0", {"width": 0.1, "depths": (1, 1, 1, 1, 1, 1, 1)}),
    ],
)
def test_statistics_of_an_example_are_seen_from_everywhere(name, options):
    """The first feature of a long signal depends on the far end of the signal, which is beyond every window."""
    model = contract.randomize(nnx.eval_shape(lambda: make(name, 1, **options)))
    assert model.receptive_field == (np.inf,)
    assert model.trace((900,))[-1].receptive_field == (900,)
    values = jnp.asarray(np.random.default_rng(0).normal(size=(1, 900, 2)), jnp.float32)

    def first(values):
        return model.features(Padded(values, jnp.array([[900]]))).values[0, 0].sum()

    assert np.abs(jax.jit(jax.grad(first))(values))[0, -1].sum() > 0


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.ones((28, 7, 2)), "example 1 of size 28x7: below this network's minimum size 8x8"),
        (np.ones((28, 28, 3)), r"\(2, 28, 28, 3\).*2 spatial axes and 2 channels"),
        (np.ones((28, 2)), r"\(2, 28, 2\).*2 spatial axes and 2 channels"),
    ],
)
def test_inputs_that_do_not_fit_are_named(batch, message):
    model = make(channels=(4, 8, 8))
    first = np.ones((28,) * (batch.ndim - 1) + batch.shape[-1:])
    with pytest.raises(ValueError, match=message):
        model(Padded.stack([first, batch]))


def test_inputs_that_are_not_padded_are_refused():
    with pytest.raises(TypeError, match=r"ndarray as input: this network takes a Padded"):
        make()(np.ones((1, 28, 28, 2)))


def test_a_padded_shape_that_is_too_small_is_refused_under_jit_too():
    model = make(channels=(4, 8, 8))
    with pytest.raises(ValueError, match="padded shape 28x7: below this network's minimum size 8x8"):
        jax.jit(lambda batch: model(batch))(Padded.stack([np.ones((28, 7, 2))]))


def test_sizes_beyond_the_padded_shape_are_refused():
    with pytest.raises(ValueError, match=r"example 1 of size \(9, 10\): must fit into the padded shape \(9, 9\)"):
        make()(Padded(jnp.ones((2, 9, 9, 2)), jnp.array([[9, 9], [9, 10]])))


@pytest.mark.parametrize("size", [(0, 0), (-3, 28)])
def test_traces_of_extents_below_one_are_refused(size):
    with pytest.raises(ValueError, match="every extent must be at least 1"):
        make().trace(size)


def test_the_smallest_input_gives_logits():
    model = make(channels=(4, 8, 8))
    assert np.isfinite(contract.call(model, Padded.stack([np.ones((*model.min_size, 2), np.float32)]))).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_pixels_that_nobody_divided_are_refused(dtype):
    batch, model = Padded.stack([np.full((9, 9, 2), 7, dtype)]), make()
    for call in (model, nnx.jit(lambda batch: model(batch))):
        with pytest.raises(TypeError, match=f"values of dtype {np.dtype(dtype)}: .* divide pixels of 0 to 255 by 255"):
            call(batch)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fnc", {}, "unknown model 'fnc': did you mean 'fcn'"),
        ("fcn", {"nrom": "batch"}, "option of model 'fcn': 'nrom': did you mean 'norm'"),
        ("fcn", {"norm": "bacth"}, "unknown norm 'bacth': did you mean 'batch'"),
        ("fcn", {"head": {"pool_att": 0}}, "option of the head 'pool_att': did you mean 'pool_at'"),
        ("fcn", {"head": {"pool": "maen"}}, "unknown pool 'maen': did you mean 'mean'"),
        ("fcn", {"head": {"hidden": (0,)}}, "channels=0 of Pointwise: must be at least 1"),
        ("fcn", {"channels": (4, -8)}, "channels=-8 of Convolution: must be at least 1"),
        ("efficientnet_b0", {"width": 0.0}, r"width=0\.0 of the EfficientNet: must be greater than 0"),
        ("efficientnet_b0", {"depths": (1, 2)}, r"depths=\(1, 2\) of the EfficientNet: must be 7 numbers"),
        (
            "resnet34",
            {"depths": (2, 0)},
            r"depths=\(2, 0\) of the ResNet: must be one or more numbers of at least 1",
        ),
        ("convnext_atto", {"depths": ()}, r"depths=\(\) of the ConvNeXt: must be one or more numbers of at least 1"),
        (
            "convnext_atto",
            {"depths": (1,), "width": 4, "head": {"norm": "laier"}},
            "unknown norm 'laier': did you mean 'layer'",
        ),
        ("fcn", {"rank": 4}, "rank=4: must be 1 to 3 spatial axes"),
        ("fcn", {"dtype": "float16"}, "unknown dtype 'float16': did you mean 'bfloat16'"),
        ("fcn", {"channels": ()}, r"channels=\(\) of the fcn: must have at least one entry"),
    ],
)
def test_create_refuses(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, **options)
