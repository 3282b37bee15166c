"""Global pools at extreme values and options, and how their expected scores depend on the area."""

import functools

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, pooling

C = 4


def by_name(name: str) -> pooling.Pool:
    return pooling.create(name, channels=C, rngs=nnx.Rngs(0))


@functools.cache
def of_column(how):
    """Returns the compiled function from a column [N] to the pooled value and its gradient."""

    def pooled(values):
        return how.finish(how.lift(Padded(values[None, :, None], jnp.array([[values.size]]))))[0, 0]

    return jax.jit(jax.value_and_grad(pooled))


def pool_column(values, how):
    return of_column(how)(jnp.asarray(values, jnp.float32))


def test_large_values_do_not_overflow():
    batch = Padded.stack([np.array([[1000.0], [-1000.0]]), np.array([[-1000.0]])])
    pooled = pooling.pool(batch, pooling.LogSumExp(5.0)).values[:, 0, 0]
    np.testing.assert_allclose(pooled, [1000 - np.log(2) / 5, -1000], rtol=1e-6)


@pytest.mark.parametrize("how", [pooling.Attention(1, rngs=nnx.Rngs(0)), pooling.AutoPool(1, alpha=1.0)])
@pytest.mark.parametrize("values", [(1e4, 1e4 - 1), (-1e4, -1e4 - 1)])
def test_weights_depend_only_on_differences_of_scores(how, values):
    if isinstance(how, pooling.Attention):
        how.kernel[...] = jnp.ones((1, 1))
    x, share = np.array(values), 1 / (1 + np.exp(-1))
    pooled, gradient = pool_column(x, how)
    np.testing.assert_allclose(pooled, x @ [share, 1 - share], rtol=1e-6)
    slope = share * (1 - share)  # of each score
    np.testing.assert_allclose(gradient, [share + slope, 1 - share - slope], atol=2e-3)  # float32 has 1e4 to 1e-3


@pytest.mark.parametrize("shift", [-1e4, -200.0, -100.0, -30.0, -15.0, -5.0, 0.0, 5.0, 30.0, 1e4])
@pytest.mark.parametrize("count", [1, 3, 5000])
def test_noisy_or_is_stable(shift, count):
    """Against float64 in log space, in which neither the product nor its complement rounds to 0 or 1."""
    x = (shift + np.random.default_rng(0).normal(size=count)).astype(np.float32)
    exact = x.astype(np.float64)
    terms = np.where(exact < -30, exact, np.log(np.logaddexp(0, np.maximum(exact, -30))))  # log(softplus(x))
    s_log = np.logaddexp.reduce(terms)
    s = np.exp(s_log)
    expected = s_log if s_log < -30 else (s if s > 40 else np.log(np.expm1(s)))
    pooled, gradient = pool_column(x, pooling.NoisyOr())
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-5)
    slopes = np.exp(-np.logaddexp(0, -exact) - s_log)  # sigmoid(x) / s
    slopes *= s / -np.expm1(-s) if s > 1e-12 else 1
    np.testing.assert_allclose(gradient, slopes, rtol=2e-3 if abs(shift) > 1e3 else 1e-4)  # float32 has 1e4 to 1e-3


@pytest.mark.parametrize(("double", "tolerance"), [(False, 2e-6), (True, 2e-7)])
def test_noisy_or_of_one_position_is_its_logit(double, tolerance):
    """On both sides of where its formulas change: at s = log(1 + exp(x)) = 0.5, and at x = -15."""
    border = np.log(np.expm1(0.5))
    logits = np.array([*np.linspace(-25, 25, 101), *np.linspace(border - 0.3, border + 0.3, 13), -15.0001, -14.9999])

    def pooled(values):
        return pooling.pool(Padded(values, jnp.ones((len(logits), 1), jnp.int32)), pooling.NoisyOr()).values

    @jax.jit
    def values_and_slopes(values):
        found, pull_back = jax.vjp(pooled, values)
        return found.ravel(), pull_back(jnp.ones_like(found))[0].ravel()

    with jax.enable_x64(double):
        found, slopes = map(np.asarray, values_and_slopes(jnp.asarray(logits[:, None, None])))
    np.testing.assert_allclose(found, logits, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(slopes, 1, atol=10 * tolerance)
    if double:  # far below, only log(softplus(x)) is approximate: two terms of its series leave 5 / 24 exp(2 x)
        far = logits < -14.9
        np.testing.assert_allclose(found[far], logits[far], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1.0, 1e12, 1e25])
def test_linear_softmax_scales_with_its_values(scale):
    x = np.random.default_rng(0).uniform(size=9)
    pooled, gradient = pool_column(scale * x, pooling.LinearSoftmax())
    expected = (x**2).sum() / x.sum()
    np.testing.assert_allclose(pooled, scale * expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, (2 * x - expected) / x.sum(), rtol=1e-4)


def test_linear_softmax_of_zeros_is_zero():
    pooled, gradient = pool_column([0.0, -2.0, 0.0], pooling.LinearSoftmax())
    assert float(pooled) == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("heads", [1, 2, C])
def test_attention_and_auto_start_as_the_mean(heads):
    batch = Padded.stack(contract.draw_examples([(5, 3), (1, 1), (2, 7)], channels=C, seed=2), batch_size=4)
    mean = pooling.pool(batch, pooling.Mean()).values
    for how in (pooling.Attention(C, heads, rngs=nnx.Rngs(0)), pooling.AutoPool(C)):
        contract.assert_close(pooling.pool(batch, how).values, mean, "pooled")


def test_ends_of_the_families_are_other_pools():
    """Extreme options turn pools into the mean or the maximum."""
    batch = Padded.stack(contract.draw_examples([(5, 3), (4, 4)], channels=C, seed=3))
    mean, high = (np.asarray(pooling.pool(batch, how).values) for how in (pooling.Mean(), pooling.Max()))
    for how, expected in (
        (pooling.TopKMean(1), high),
        (pooling.TopKMean(16), mean),
        (pooling.AutoPool(C, alpha=1e4), high),
        (pooling.LearnableLogSumExp(1e4), high),
        (pooling.LearnableLogSumExp(1e-2), mean),
    ):
        np.testing.assert_allclose(pooling.pool(batch, how).values, expected, atol=2e-2)


def test_pools_are_ordered():
    """For nonnegative values: mean <= every other pool <= max <= noisy-or."""
    batch = Padded.stack([np.abs(x) for x in contract.draw_examples([(5, 3), (4, 4)], channels=C, seed=3)])
    mean, high, noisy = (pooling.pool(batch, by_name(name)).values for name in ("mean", "max", "noisy_or"))
    assert (high <= noisy + 1e-6).all()
    between = ("logsumexp", "logsumexp_learnable", "gem", "linear_softmax", "top_k", "attention", "auto")
    for name in between:
        pooled = pooling.pool(batch, by_name(name)).values
        assert (mean <= pooled + 1e-6).all(), name
        assert (pooled <= high + 1e-6).all(), name


def with_scores(how: pooling.Attention) -> pooling.Attention:
    how.kernel[...] = jnp.ones((1, 1))
    return how


AREAS = (4, 64, 1024)
MOVES = {  # as stated in the docstrings
    "mean": (pooling.Mean(), "stays"),
    "attention at the start": (pooling.Attention(1, rngs=nnx.Rngs(0)), "stays"),
    "auto at the start": (pooling.AutoPool(1), "stays"),
    "logsumexp": (pooling.LogSumExp(1.0), "grows to a limit"),
    "logsumexp_learnable": (pooling.LearnableLogSumExp(1.0), "grows to a limit"),
    "gem": (pooling.GeM(), "grows to a limit"),
    "linear_softmax": (pooling.LinearSoftmax(), "grows to a limit"),
    "attention": (with_scores(pooling.Attention(1, rngs=nnx.Rngs(0))), "grows to a limit"),
    "auto": (pooling.AutoPool(1, alpha=1.0), "grows to a limit"),
    "max": (pooling.Max(), "grows"),
    "top_k": (pooling.TopKMean(), "grows"),
    "noisy_or": (pooling.NoisyOr(), "grows"),
}


@pytest.mark.parametrize("name", MOVES)
def test_expected_score_and_area(name):
    """Measures how the score depends on the number of (standard normal) positions, as stated in the docstrings."""
    how, moves = MOVES[name]
    rng = np.random.default_rng(0)
    values = [jnp.asarray(rng.normal(size=(500, n, 1)), jnp.float32) for n in AREAS]
    scores = [float(pooling.pool(Padded(x, jnp.full((500, 1), x.shape[1])), how).values.mean()) for x in values]
    first, second = np.diff(scores)
    measured = "stays" if abs(first) < 0.07 else "grows to a limit" if second < 0.5 * first else "grows"
    assert measured == moves, f"scores {scores} at areas {AREAS}"
    assert abs(second) < 0.1 or moves == "grows"


def test_every_pool_is_measured():
    assert {name.split(" ")[0] for name in MOVES} == set(pooling.POOLS)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (pooling.Mean(), 2.0**-31),
        (pooling.LogSumExp(1.0), 1 - 31 * np.log(2)),
        (pooling.GeM(1.0), 2.0**-31),
    ],
)
def test_more_positions_than_an_int32_counts(how, expected):
    """The example counts 2**31 positions, only one of which is here."""
    pooled = pooling.pool(Padded(jnp.ones((1, 1, 1, 1)), jnp.array([[2**16, 2**15]])), how)
    np.testing.assert_allclose(pooled.values.ravel(), [expected], rtol=1e-6)
