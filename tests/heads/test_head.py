"""Heads: the contract, orders that are the same function, conversions, class maps, and pools with weights."""

import re

import contract
import jax
import numpy as np
import pytest
from flax import nnx

from fcnjax import Head, Padded, models, pooling
from fcnjax.layers import Layer

C, K = 5, 3
AVERAGED = {"log_softmax": True, "pool": pooling.LogSumExp(1.0)}


class AsLayer(Layer):
    """A head with the signature of a layer, for the contract."""

    def __init__(self, head):
        self.head = head

    def apply(self, batch, *, train, keys):
        return self.head(batch, train=train, keys=keys)


def make(**options):
    return contract.randomize(nnx.eval_shape(lambda: Head(C, K, **options, rngs=nnx.Rngs(0))))


def by_name(name, **options):
    return lambda channels, rngs: pooling.create(name, channels=channels, rngs=rngs, **options)


LEARNABLE = ("attention", "auto", "logsumexp_learnable")
HEADS = {
    **{f"linear at {at}": {"pool_at": at} for at in (0, 1)},
    **{f"hidden at {at}": {"hidden": (4,), "pool_at": at} for at in range(4)},
    **{f"dropout at {at}": {"hidden": (4,), "dropout": 0.5, "pool_at": at} for at in (0, 2, 3, 4)},
    "softmax": {**AVERAGED, "pool_at": 2},
    **{f"{norm} norm at {at}": {"norm": norm, "pool_at": at} for norm in ("layer", "batch") for at in (0, 1)},
    "3x3": {"kernel": 3, "hidden": (4,), "pool_at": 2},
    "3x2 valid": {"kernel": (3, 2), "padding": "valid", "score_activation": "relu"},
    **{f"{name} at {at}": {"pool": by_name(name), "pool_at": at} for name in pooling.POOLS for at in (0, 1)},
}


@pytest.mark.parametrize("name", HEADS)
def test_contract(name):
    head = nnx.eval_shape(lambda: AsLayer(Head(C, K, **HEADS[name], rngs=nnx.Rngs(0))))
    contract.check_drawn(head, 2, C, minimum=3 if "valid" in name else 1, train="dropout" in name, seed=1)


@pytest.fixture
def features():
    return Padded.stack(contract.draw_examples([(3, 4), (1, 1), (5, 2)], C, seed=0), batch_size=4)


def logits_and_gradients(head, features):
    graphdef, weights = nnx.split(head)

    def functional(weights):
        logits = nnx.merge(graphdef, weights)(features)
        return (logits**2).sum(), logits

    (_, logits), gradients = jax.jit(jax.value_and_grad(functional, has_aux=True))(nnx.to_pure_dict(weights))
    return logits, gradients


@pytest.mark.parametrize(
    ("options", "equal"),
    [
        ({}, {0, 1}),  # GAP-first is conv-first
        ({"hidden": (4,)}, {0, 1}),  # only an affine layer lies in between
        ({"hidden": (4,)}, {2, 3}),
    ],
)
def test_orders_that_differ_by_an_affine_layer_are_one_function(options, equal, features):
    first, second = (make(**options, pool_at=at) for at in sorted(equal))
    contract.assert_close(
        logits_and_gradients(first, features), logits_and_gradients(second, features), "logits, gradients"
    )


@pytest.mark.parametrize(("at", "other"), [(1, 2), (0, 3)])
def test_orders_that_differ_by_a_relu_are_two_functions(at, other, features):
    """By Jensen's inequality relu(mean) <= mean(relu); a classifier with positive weights keeps the order."""
    heads = [make(hidden=(4,), pool_at=p) for p in (at, other)]
    for head in heads:
        head.layers[2].kernel[...] = abs(head.layers[2].kernel[...])
    before, after = (np.asarray(contract.call(head, features))[:3] for head in heads)
    assert (before <= after + 1e-6).all()
    assert np.abs(before - after).max() > 1e-2


def test_dropout_does_not_depend_on_the_place_of_the_pool(features):
    keys = jax.random.split(jax.random.key(0), 4)
    heads = [make(hidden=(4,), dropout=0.5, pool_at=at) for at in (2, 4)]
    late, later = (contract.call(head, features, train=True, keys=keys) for head in heads)
    contract.assert_close(late, later, "logits")


def test_a_head_evaluates_unless_it_is_told_to_train(features):
    """With dropout active, it would ask for keys."""
    head = make(dropout=0.5)
    np.testing.assert_array_equal(head(features), head(features, train=False))


def test_softmax_before_the_pool_averages_probabilities(features):
    head = make(**AVERAGED, pool_at=2)
    kernel, bias = np.asarray(head.layers[0].kernel[...]), np.asarray(head.layers[0].bias[...])
    for example, logits in zip(features.unstack(), np.asarray(contract.call(head, features)), strict=False):
        scores = (example.reshape(-1, C) @ kernel + bias).astype(np.float64)
        probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        np.testing.assert_allclose(np.exp(logits), probabilities.mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"pool_at": 0},
        {"pool_at": 1},
        {"hidden": (4,), "pool_at": 2},
        {"hidden": (4,), "pool_at": 3},
        {**AVERAGED, "pool_at": 2},
        {"pool": pooling.Max(), "pool_at": 1},
        {"pool": by_name("attention"), "pool_at": 1},
    ],
)
def test_the_pool_of_the_class_maps_is_the_logits(options, features):
    head = make(**options)
    maps = contract.call(head, features, method="class_maps")
    assert maps.values.shape == (4, 5, 4, K)
    assert maps.sizes.tolist() == features.sizes.tolist()
    pooled = pooling.pool(maps, head.pool).values.reshape(4, K)
    contract.assert_close(pooled, contract.call(head, features), "pooled class maps")


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ({"hidden": (4,), "pool_at": 0}, "'relu' comes after the mean pool"),
        ({"hidden": (4,), "pool_at": 1}, "'relu' comes after the mean pool"),
        ({"pool": pooling.Max(), "pool_at": 0}, "'linear 3' comes after the max pool"),
        ({"pool": by_name("attention"), "pool_at": 0}, "'linear 3' comes after the attention pool"),
        ({"log_softmax": True, "pool_at": 1}, "'log_softmax' comes after the mean pool"),
    ],
)
def test_class_maps_that_do_not_exist_are_refused(options, obstacle, features):
    with pytest.raises(ValueError, match=obstacle):
        make(**options).class_maps(features)


CONVERSIONS = [
    ({}, "conv_first", 0, True, "mean pool commutes with all layers between the places: linear 3"),
    ({}, 0, 0, True, "the pool does not move"),
    ({"hidden": (4,)}, "conv_first", 0, False, "mean pool does not commute with 'relu'"),
    ({"hidden": (4,), "dropout": 0.5}, 4, 2, True, "between the places: dropout, linear 3"),
    ({"hidden": (4,), "pool": "max"}, 2, 1, True, "max pool commutes with all layers .*: relu"),
    ({"hidden": (4,), "activation": "gelu", "pool": "max"}, 2, 1, False, "does not commute with 'gelu'"),
    ({"pool": "max"}, "gap_first", 1, False, "max pool does not commute with 'linear 3'"),
    ({"norm": "layer"}, "gap_first", 1, False, "does not commute with 'layer norm'"),
    ({"norm": "batch"}, "gap_first", 1, False, "commutes with 'batch norm' in evaluation, but not in training"),
    ({"dropout": 0.5, "pool": "top_k"}, 0, 1, True, "top_k pool commutes with all layers .*: dropout"),
    ({"dropout": 0.5, "pool": "linear_softmax"}, 0, 1, True, "commutes with all layers .*: dropout"),
    ({"dropout": 0.5, "pool": "noisy_or"}, 0, 1, False, "commutes with 'dropout' in evaluation, but not in training"),
    ({"hidden": (4,), "pool": "linear_softmax"}, 2, 1, True, "commutes with all layers .*: relu"),
    ({"hidden": (4,), "pool": pooling.TopKMean(1)}, 2, 1, True, "commutes with all layers .*: relu"),
    ({**AVERAGED}, 1, 2, False, "does not commute with 'log_softmax'"),
]


@pytest.mark.parametrize(("options", "order", "pool_at", "same", "reason"), CONVERSIONS)
def test_conversion_keeps_the_weights_and_reports_the_truth(options, order, pool_at, same, reason, features):
    head = make(**options, pool_at=pool_at)
    converted = head.convert(order)
    assert converted.same_function is same
    assert re.search(reason, converted.reason)
    named = {"gap_first": 0, "conv_first": len(head.layers)}
    assert (head.pool_at, converted.head.pool_at) == (pool_at, named.get(order, order))
    rebuilt = make(**options, pool_at=converted.head.pool_at)
    outputs = [contract.call(each, features) for each in (converted.head, rebuilt)]
    np.testing.assert_array_equal(*outputs)  # the same weights in the new order
    keys = jax.random.split(jax.random.key(1), 4)
    if options.get("activation") == "gelu":
        head.layers[0].bias[...] -= 4  # to inputs where GELU decreases
    first, second = (np.asarray(contract.call(h, features, train=True, keys=keys)) for h in (head, converted.head))
    difference = np.abs(first - second).max() / np.abs(first).max()
    assert bool(difference < 1e-5) is same, "same_function does not agree with the logits"


@pytest.mark.parametrize(
    ("options", "order", "message"),
    [
        (
            {"pool": by_name("attention")},
            "gap_first",
            "attention pool has weights for the channels at its present place",
        ),
        ({"kernel": 3}, "gap_first", "the pool must come after 'conv 3x3 3'"),
        ({}, "last", "pool_at=last of the head: allowed are 0 before linear 3, 1 after all layers"),
    ],
)
def test_impossible_conversions_are_refused(options, order, message):
    with pytest.raises(ValueError, match=message):
        make(**options).convert(order)


def test_a_kernel_sees_its_neighbors_and_enters_the_shape_table():
    options = {"hidden": (6,), "kernel": 3, "padding": "valid"}
    model = models.create("fcn", classes=K, in_channels=1, head=options, rngs=nnx.Rngs(0))
    assert (model.min_size, model.stride) == ((24, 24), (8, 8))
    rows = {row.layer: row for row in model.trace((40, 24))}
    assert rows["conv 3x3 6"].size == (3, 1)
    assert rows["conv 3x3 6"].receptive_field == (22 + 2 * 8,) * 2
    assert rows["mean pool"].receptive_field == (38 + 2 * 8, 38)
    assert model.class_maps(Padded.stack([np.ones((40, 24, 1))])).sizes.tolist() == [[3, 1]]


def test_all_orders_share_one_tree_and_its_initial_weights():
    trees = [nnx.to_pure_dict(nnx.state(Head(C, K, hidden=(4,), pool_at=at, rngs=nnx.Rngs(3)))) for at in range(4)]
    for tree in trees[1:]:
        jax.tree.map(np.testing.assert_array_equal, tree, trees[0])


@pytest.mark.parametrize("name", pooling.POOLS)
def test_every_pool_leaves_the_layers_initial_weights_as_they_are(name):
    def layers(**options):
        return nnx.to_pure_dict(nnx.state(Head(C, K, hidden=(4,), rngs=nnx.Rngs(3), **options).layers))

    for at in range(4):
        jax.tree.map(np.testing.assert_array_equal, layers(pool=by_name(name), pool_at=at), layers())


@pytest.mark.parametrize(("at", "channels"), [(0, C), (1, 4), (2, 4), (3, K)])
def test_a_pool_with_weights_fits_its_place(at, channels, features):
    head = make(hidden=(4,), pool=by_name("attention", heads=channels), pool_at=at)
    assert isinstance(head.pool, pooling.Attention)
    assert head.pool.kernel.shape == (channels, channels)
    assert head.pool_name == "attention"
    assert "attention pool" in head.describe()
    assert jax.eval_shape(head, features).shape == (4, K)


@pytest.mark.parametrize("name", LEARNABLE)
def test_a_pool_with_weights_splits_merges_and_compiles(name, features):
    head = make(pool=by_name(name), pool_at=0)
    graphdef, weights = nnx.split(head)
    compiled = jax.jit(lambda weights, features: nnx.merge(graphdef, weights)(features))
    contract.assert_close(compiled(weights, features), head(features), "logits")
    assert sum(path[0] == "pool" for path, _ in nnx.to_flat_state(weights)) == 1


@pytest.mark.parametrize("name", LEARNABLE)
def test_a_pool_with_weights_learns(name):
    """Gradient descent on noise with a bright position in the channel of the class: loss falls, pool weights change."""
    rng = np.random.default_rng(0)
    labels = np.arange(12) % K
    values = rng.normal(size=(12, 6, 6, C))
    values[np.arange(12), 2, 1, labels] += 4
    batch = Padded.stack([x[: 3 + i % 4] for i, x in enumerate(values.astype(np.float32))], batch_size=13)
    graphdef, weights = nnx.split(Head(C, K, pool=by_name(name), pool_at=0, rngs=nnx.Rngs(0)))

    def loss(weights):
        log_probabilities = jax.nn.log_softmax(nnx.merge(graphdef, weights)(batch)[:12])
        return -log_probabilities[np.arange(12), labels].mean()

    @jax.jit
    def step(weights):
        value, gradients = jax.value_and_grad(loss)(weights)
        return value, jax.tree.map(lambda w, g: w - 0.3 * g, weights, gradients)

    start, losses = weights["pool"], []
    for _ in range(40):
        value, weights = step(weights)
        losses.append(float(value))
    assert losses[-1] < 0.7 * losses[0]
    moved = jax.tree.map(lambda new, old: float(abs(new - old).max()), weights["pool"], start)
    assert all(change > 1e-2 for change in jax.tree.leaves(moved))


def test_multiply_adds_are_counted_by_hand():
    def count(at):
        return Head(C, K, hidden=(4,), pool_at=at, rngs=nnx.Rngs(0)).multiply_adds((2, 3), channels=C)

    assert count(0) == 6 * C + C * 4 + 4 * K
    assert count(2) == 6 * C * 4 + 6 * 4 + 4 * K
    assert count(3) == 6 * C * 4 + 6 * 4 * K + 6 * K
    attention = Head(C, K, pool=by_name("attention", heads=C), pool_at=0, rngs=nnx.Rngs(0))
    assert attention.multiply_adds((2, 3), channels=C) == 6 * C * C + 6 * C + C * K  # scores, values, classes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool_at": 2}, "pool_at=2 of the head: allowed are 0 before linear 3, 1 after all layers"),
        ({"pool_at": -1}, "pool_at=-1"),
        ({"pool": pooling.Max}, "pool=<class .*Max'> of the head: must be a pool, such as pooling.Max()"),
        ({"pool": "mxa"}, "unknown pool 'mxa': did you mean 'max'"),
        ({"pool": 3}, "pool=3 of the head: must be a pool, .* or a function"),
        ({"pool": lambda channels, rngs: "max"}, "pool='max' of the head: must be a pool"),
        ({"pool": by_name("attention", heads=2), "pool_at": 0}, "heads=2 .* divide channels=5"),
        ({"norm": "lyer"}, "unknown norm 'lyer': did you mean 'layer'"),
        (
            {"kernel": 3, "pool_at": 0},
            "pool_at=0 with kernel=3 of the head: must be after .conv 3x3 3., .*; give 1 or more",
        ),
        ({"kernel": 3, "norm": "layer", "pool_at": 1}, "; give 2 or more"),
        ({"kernel": 3, "dropout": 0.5, "pool_at": 1}, "; give 2 or more"),
        ({"activation": "rleu"}, "unknown activation 'rleu': did you mean 'relu'"),
    ],
)
def test_construction_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
