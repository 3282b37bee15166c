"""Global pools against their formulas in float64 numpy, and as monoids."""

import functools

import contract
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import strategies as st

from fcnjax import Padded, pooling

C = 4
OPTIONS = {
    "logsumexp sharp": {"r": 50.0},
    "attention of heads": {"heads": 2},
    "top_k of one": {"k": 1},
    "top_k of many": {"k": 40},
}
NAMES = [*pooling.POOLS, *OPTIONS]


def make(name: str, channels: int = C) -> pooling.Pool:
    return pooling.create(name.split(" ")[0], channels=channels, rngs=nnx.Rngs(0), **OPTIONS.get(name, {}))


def make_random(name: str) -> pooling.Pool:
    how = make(name)
    return contract.randomize(how, seed=5) if isinstance(how, nnx.Module) else how


POOLS = {name: make_random(name) for name in NAMES}


class Compiled:
    """A pool with its three functions compiled; otherwise every operation would be a separate program."""

    def __init__(self, how: pooling.Pool):
        self.lift, self.combine, self.finish = map(jax.jit, (how.lift, how.combine, how.finish))


COMPILED = {name: Compiled(how) for name, how in POOLS.items()}


def weights_of(how: pooling.Pool) -> dict:
    return nnx.to_pure_dict(nnx.state(how, nnx.Param)) if isinstance(how, nnx.Module) else {}


def weighted(x, scores):
    """Mean of x [N, C] weighted by the softmax over N of scores [N, H], one per C / H consecutive channels."""
    weights = np.exp(scores) / np.exp(scores).sum(0)
    return (np.repeat(weights, x.shape[1] // scores.shape[1], axis=1) * x).sum(0)


def logsumexp(x, r):
    return np.log(np.exp(r * x).mean(0)) / r


def linear_softmax(x):
    p = np.maximum(x, 0)
    return (p**2).sum(0) / np.maximum(p.sum(0), 1e-300)


def noisy_or(x):
    absent = np.prod(1 / (1 + np.exp(x)), axis=0)
    return np.log((1 - absent) / absent)


# (x [N, C] float64, weights of the pool) -> [C]
ORACLES = {
    "mean": lambda x, w: x.mean(0),
    "max": lambda x, w: x.max(0),
    "top_k": lambda x, w: np.sort(x, axis=0)[::-1][:5].mean(0),
    "top_k of one": lambda x, w: x.max(0),
    "top_k of many": lambda x, w: np.sort(x, axis=0)[::-1][:40].mean(0),
    "logsumexp": lambda x, w: logsumexp(x, 5),
    "logsumexp sharp": lambda x, w: logsumexp(x, 50),
    "logsumexp_learnable": lambda x, w: logsumexp(x, np.exp(w["log_r"])),
    "gem": lambda x, w: (np.maximum(x, 1e-6) ** 3).mean(0) ** (1 / 3),
    "attention": lambda x, w: weighted(x, x @ w["kernel"]),
    "attention of heads": lambda x, w: weighted(x, x @ w["kernel"]),
    "auto": lambda x, w: weighted(x, w["alpha"] * x),
    "noisy_or": lambda x, w: noisy_or(x),
    "linear_softmax": lambda x, w: linear_softmax(x),
}


def in_float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


@pytest.mark.parametrize("name", NAMES)
def test_pool_is_the_formula_on_each_example(name):
    examples = contract.draw_examples([(5, 3), (1, 1), (2, 7)], channels=C, seed=2)
    pooled = pooling.pool(Padded.stack(examples, shape=(6, 9), batch_size=4), COMPILED[name])
    assert pooled.values.shape == (4, 1, 1, C)
    assert pooled.sizes.tolist() == [[1, 1]] * 3 + [[0, 0]]
    for example, actual in zip(examples, pooled.unstack(), strict=True):
        expected = ORACLES[name](example.reshape(-1, C).astype(np.float64), in_float64(weights_of(POOLS[name])))
        np.testing.assert_allclose(actual[0, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_formulas_finite_differences(name):
    """Gradients by the values of a padded example and by the pool's weights, against central differences in float64."""
    how = POOLS[name]
    (example,) = contract.draw_examples([(3, 4)], channels=C, seed=6)
    cotangent = np.cos(np.arange(C))
    sizes, weights = jnp.array([[3, 4], [0, 0]]), weights_of(how)

    def functional(values, weights):
        pool = nnx.merge(nnx.graphdef(how), weights) if weights else how
        values = jnp.zeros((2, 5, 6, C)).at[0, :3, :4].set(values)
        return pooling.pool(Padded(values, sizes), pool).values[0, 0, 0] @ jnp.asarray(cotangent, jnp.float32)

    def oracle(point):
        return ORACLES[name](point[0].reshape(-1, C), point[1]) @ cotangent

    actual = jax.jit(jax.grad(functional, argnums=(0, 1)))(jnp.asarray(example), weights)
    contract.assert_close(actual, central_differences(oracle, in_float64((example, weights))), "gradient")


def central_differences(function, point, step=1e-5):
    leaves, structure = jax.tree.flatten(point)
    gradients = [np.zeros(leaf.shape) for leaf in leaves]
    for i, leaf in enumerate(leaves):
        for index in np.ndindex(leaf.shape):
            sides = []
            for sign in (1, -1):
                moved = [x.copy() for x in leaves]
                moved[i][index] += sign * step
                sides.append(function(jax.tree.unflatten(structure, moved)))
            gradients[i][index] = (sides[0] - sides[1]) / (2 * step)
    return jax.tree.unflatten(structure, gradients)


@pytest.mark.parametrize("name", NAMES)
@hypothesis.settings(max_examples=5)
@hypothesis.given(cut=st.integers(0, 6), empty=st.booleans())
def test_tiles_combine_to_the_whole(name, cut, empty):
    """Two parts in either order, with or without a third, empty part, have the same result as the whole."""
    how = COMPILED[name]
    (example,) = contract.draw_examples([(6, 3)], channels=C, seed=4)
    whole = how.finish(how.lift(Padded.stack([example])))
    parts = [part for part in (example[:cut], example[cut:]) if len(part)]
    lifted = [how.lift(Padded.stack([part], shape=(6, 3))) for part in parts]
    if empty:
        lifted.append(nothing(how))
    for order in (lifted, lifted[::-1]):
        total = order[0]
        for part in order[1:]:
            total = how.combine(total, part)
        np.testing.assert_allclose(how.finish(total), whole, rtol=1e-5, atol=1e-6)


def nothing(how: pooling.Pool) -> pooling.Statistics:
    """Returns the identity: the statistics of a part without valid positions."""
    return how.lift(Padded(jnp.zeros((1, 2, 2, C)), jnp.zeros((1, 2), jnp.int32)))


@pytest.mark.parametrize("name", NAMES)
def test_combine_is_associative_and_commutative_with_an_identity(name):
    """On the statistics, also for parts with very different values, which combine must rescale."""
    how = COMPILED[name]
    far = (0.0, 30.0, -30.0)
    a, b, c = (
        how.lift(Padded.stack([x + shift]))
        for x, shift in zip(contract.draw_examples([(3, 2), (1, 1), (2, 4)], C, seed=7), far, strict=True)
    )
    for one, other in (
        (how.combine(a, b), how.combine(b, a)),
        (how.combine(how.combine(a, b), c), how.combine(a, how.combine(b, c))),
    ):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), one, other)
    for part in (a, b, c, nothing(how)):
        for one, other in ((part, nothing(how)), (nothing(how), part)):
            jax.tree.map(np.testing.assert_array_equal, how.combine(one, other), part)


def test_gem_survives_values_whose_powers_leave_float32():
    """Powers of values at the floor are 0, of large values infinite; the mean and its gradient must stay finite."""
    pool = pooling.GeM(20.0)
    values = jnp.array([[[-1.0, 1e-3, 100.0], [-2.0, 2e-3, 50.0]]])

    def total(values):
        pooled = pooling.pool(Padded(values, jnp.array([[2]])), pool).values
        return pooled.sum(), pooled.ravel()

    (_, pooled), gradient = jax.value_and_grad(total, has_aux=True)(values)
    mean = np.mean(np.maximum(np.asarray(values, np.float64), 1e-6)[0] ** 20, 0) ** (1 / 20)
    np.testing.assert_allclose(pooled, mean, rtol=1e-5)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0, :, 0], 0)  # values below the floor have no gradient


@pytest.mark.parametrize("name", NAMES)
def test_gradients_through_combined_tiles_are_those_of_the_whole(name):
    how = POOLS[name]
    (example,) = contract.draw_examples([(6, 3)], channels=C, seed=4)

    @functools.partial(jax.jit, static_argnums=1)
    def of_tiles(values, cuts):
        parts = [how.lift(Padded(part, jnp.array([part.shape[1:3]]))) for part in jnp.split(values, cuts, axis=1)]
        total = nothing(how)
        for part in parts:
            total = how.combine(total, part)
        return jnp.sum(how.finish(total) * jnp.arange(1.0, C + 1)[None])

    whole, tiles = (jax.grad(of_tiles)(jnp.asarray(example)[None], cuts) for cuts in ((), (1, 4)))
    contract.assert_close(tiles, whole, "gradient")


@pytest.mark.parametrize("name", NAMES)
def test_fillers_give_zeros_and_finite_gradients(name):
    how = POOLS[name]
    graphdef, weights = nnx.graphdef(how) if isinstance(how, nnx.Module) else None, weights_of(how)
    batch = Padded(jnp.zeros((2, 3, 3, C)).at[0, :2, 0].set(jnp.array([[1.0], [2.0]])), jnp.array([[2, 1], [0, 0]]))
    statistics = how.lift(batch)
    assert {array.dtype for array in jax.tree.leaves(how.lift(cast(batch, jnp.bfloat16)))} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(how.finish(statistics)[1], 0)

    def total(values, weights):
        pool = nnx.merge(graphdef, weights) if weights else how
        # `finish`, not only the masked output of `pool`: a NaN behind a mask still makes the gradient NaN
        return jnp.sum(pool.finish(pool.lift(Padded(values, batch.sizes))) ** 2)

    gradient, of_weights = jax.jit(jax.grad(total, argnums=(0, 1)))(batch.values, weights)
    assert all(np.isfinite(array).all() for array in jax.tree.leaves((gradient, of_weights)))
    np.testing.assert_array_equal(gradient[1], 0)
    for array in (gradient[0], *jax.tree.leaves(of_weights)):
        assert float(jnp.abs(array).sum()) > 0


def cast(batch: Padded, dtype) -> Padded:
    return Padded(batch.values.astype(dtype), batch.sizes)


def test_every_pool_has_its_formula():
    assert set(ORACLES) == set(NAMES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("maen", {}, "unknown pool 'maen': did you mean 'mean'"),
        ("logsumexp", {"r": 0.0}, "r=0.0 of log-sum-exp pooling: must be greater than 0"),
        ("logsumexp_learnable", {"r": -1.0}, "r=-1.0 of log-sum-exp pooling: must be greater than 0"),
        ("gem", {"p": -1.0}, "p=-1.0"),
        ("mean", {"r": 1.0}, "unknown option of pool 'mean': 'r'"),
        ("attention", {"head": 2, "channels": 4}, "option of pool 'attention': 'head': did you mean 'heads'"),
        ("attention", {"heads": 2}, "channels=None of pool 'attention': must be set; its weights need channels"),
        ("attention", {"channels": 4, "rngs": None}, "rngs=None of pool 'attention': must be set; its weights need"),
        ("attention", {"channels": 4, "heads": 3}, "heads=3 of attention pooling: .* divide channels=4"),
        ("attention", {"channels": 4, "heads": 0}, "heads=0 of attention pooling: must be at least 1"),
        ("attention", {"channels": 0}, "channels=0 of attention pooling: must be at least 1"),
        ("auto", {}, "channels=None of pool 'auto': must be set; its weights need channels"),
        ("auto", {"channels": -1}, "channels=-1 of auto pooling: must be at least 1"),
        ("top_k", {"k": 0}, "k=0 of top-k pooling: must be a whole number, at least 1"),
        ("top_k", {"k": 1.5}, "k=1.5 of top-k pooling"),
    ],
)
def test_create_refuses(name, options, message):
    with pytest.raises(ValueError, match=message):
        pooling.create(name, **{"rngs": nnx.Rngs(0), **options})


@pytest.mark.parametrize("name", ["attention", "auto"])
def test_other_channels_are_refused(name):
    with pytest.raises(ValueError, match="last axis must hold 5 channels"):
        pooling.pool(Padded.stack([np.ones((3, 4))]), make(name, channels=5))
