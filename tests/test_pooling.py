import contract
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from fcnjax import Padded, pooling

POOLS = {name: make() for name, make in pooling.POOLS.items()} | {"logsumexp sharp": pooling.LogSumExp(50.0)}
ORACLES = {
    "mean": lambda x: x.mean(0),
    "max": lambda x: x.max(0),
    "logsumexp": lambda x: np.log(np.exp(5 * x).mean(0)) / 5,
    "logsumexp sharp": lambda x: np.log(np.exp(50 * x).mean(0)) / 50,
    "gem": lambda x: (np.maximum(x, 1e-6) ** 3).mean(0) ** (1 / 3),
}


@pytest.mark.parametrize("name", POOLS)
def test_pool_is_the_formula_on_each_example(name):
    examples = contract.draw_examples([(5, 3), (1, 1), (2, 7)], channels=4, seed=2)
    pooled = pooling.pool(Padded.stack(examples, shape=(6, 9), batch_size=4), POOLS[name])
    assert pooled.values.shape == (4, 1, 1, 4)
    assert pooled.sizes.tolist() == [[1, 1]] * 3 + [[0, 0]]
    for example, actual in zip(examples, pooled.unstack(), strict=True):
        expected = ORACLES[name](example.reshape(-1, 4).astype(np.float64))
        np.testing.assert_allclose(actual[0, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", POOLS)
@hypothesis.settings(max_examples=5)
@hypothesis.given(cut=st.integers(0, 6), empty=st.booleans())
def test_tiles_combine_to_the_whole(name, cut, empty):
    """A monoid: two parts in either order, or three with one of them empty, give what the whole gives."""
    how = POOLS[name]
    (example,) = contract.draw_examples([(6, 3)], channels=2, seed=4)
    whole = how.finish(how.lift(Padded.stack([example])))
    parts = [part for part in (example[:cut], example[cut:]) if len(part)]
    lifted = [how.lift(Padded.stack([part])) for part in parts]
    if empty:
        lifted.append(how.lift(Padded(jnp.zeros((1, 2, 2, 2)), jnp.zeros((1, 2), jnp.int32))))
    for order in (lifted, lifted[::-1]):
        total = order[0]
        for part in order[1:]:
            total = how.combine(total, part)
        np.testing.assert_allclose(how.finish(total), whole, rtol=1e-5)


@pytest.mark.parametrize("name", POOLS)
def test_fillers_give_zeros_and_finite_gradients(name):
    batch = Padded(jnp.zeros((2, 3, 3, 2)).at[0, 0, 0].set(1.0), jnp.array([[1, 1], [0, 0]]))

    def total(values):
        return jnp.sum(pooling.pool(Padded(values, batch.sizes), POOLS[name]).values ** 2)

    np.testing.assert_array_equal(pooling.pool(batch, POOLS[name]).values[1], 0)
    gradient = jax.grad(total)(batch.values)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[1], 0)
    assert float(jnp.abs(gradient[0]).sum()) > 0


def test_large_values_do_not_overflow():
    batch = Padded.stack([np.array([[1000.0], [-1000.0]]), np.array([[-1000.0]])])
    pooled = pooling.pool(batch, pooling.LogSumExp(5.0)).values[:, 0, 0]
    np.testing.assert_allclose(pooled, [1000 - np.log(2) / 5, -1000], rtol=1e-6)


def test_pools_are_ordered():
    """mean <= log-sum-exp <= max, and mean <= GeM <= max where nothing is negative."""
    examples = [np.abs(x) for x in contract.draw_examples([(5, 3), (4, 4)], channels=6, seed=3)]
    mean, high, soft, gem = (
        pooling.pool(Padded.stack(examples), POOLS[name]).values for name in ("mean", "max", "logsumexp", "gem")
    )
    assert (mean <= soft + 1e-6).all()
    assert (soft <= high + 1e-6).all()
    assert (mean <= gem + 1e-6).all()
    assert (gem <= high + 1e-6).all()


@pytest.mark.parametrize(("name", "grows"), [("mean", False), ("max", True)])
def test_expected_score_and_area(name, grows):
    """What the docstrings say: with more positions of the same distribution, the mean stays and the maximum grows."""
    rng = np.random.default_rng(0)
    small, large = (rng.normal(size=(300, n, 1)).astype(np.float32) for n in (4, 64))
    scores = [
        float(pooling.pool(Padded(jnp.asarray(x), jnp.full((300, 1), x.shape[1])), POOLS[name]).values.mean())
        for x in (small, large)
    ]
    assert (scores[1] - scores[0] > 0.5) == grows
    assert grows or abs(scores[1] - scores[0]) < 0.1  # standard error of the smaller: 0.03


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("maen", {}, "unknown pool 'maen': did you mean 'mean'"),
        ("logsumexp", {"r": 0.0}, "r=0.0 of log-sum-exp pooling: must be greater than 0"),
        ("gem", {"p": -1.0}, "p=-1.0"),
        ("mean", {"r": 1.0}, "unknown option of pool 'mean': 'r'"),
    ],
)
def test_create_refuses(name, options, message):
    with pytest.raises(ValueError, match=message):
        pooling.create(name, **options)
