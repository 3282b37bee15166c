"""Mixup: partners, weights, and the mixture of different sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax.data import mix
from fcnjax.padded import Padded

SIZES = ((9, 7), (12, 14), (5, 11), (4, 4))


def draw(sizes=SIZES):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(*size, 2)).astype(np.float32) for size in sizes]


def keys_of(count):
    return jax.random.split(jax.random.key(5), count)


def apply(examples, keys, alpha=0.4, shape=None, rows=None):
    mixed, partner, weight = jax.jit(mix, static_argnums=2)(Padded.stack(examples, shape, rows), keys, alpha)
    return mixed, np.asarray(partner), np.asarray(weight)


def test_a_mixture_is_the_weighted_sum_at_the_examples_own_size():
    examples = draw()
    mixed, partner, weight = apply(examples, keys_of(4))
    np.testing.assert_array_equal(mixed.sizes, SIZES)
    for index, result in enumerate(mixed.unstack()):
        other = np.zeros_like(examples[index])
        h, w = np.minimum(other.shape[:2], SIZES[partner[index]])
        other[:h, :w] = examples[partner[index]][:h, :w]
        np.testing.assert_allclose(result, weight[index] * examples[index] + (1 - weight[index]) * other, atol=1e-6)


def test_mixtures_depend_on_neither_padded_shape_nor_order_nor_padding():
    examples, keys, order = draw(), keys_of(7), np.array([2, 0, 3, 1])
    mixed, partner, weight = apply(examples, keys[:4])
    wide, wide_partner, wide_weight = apply(examples, keys, shape=(17, 19), rows=7)
    np.testing.assert_array_equal(wide_partner, [*partner, 4, 5, 6])
    np.testing.assert_array_equal(wide_weight, [*weight, 1, 1, 1])
    assert not np.asarray(wide.values)[~np.broadcast_to(wide.mask, wide.values.shape)].any()
    other, other_partner, other_weight = apply([examples[i] for i in order], keys[order])
    np.testing.assert_array_equal(order[other_partner], partner[order])
    np.testing.assert_array_equal(other_weight, weight[order])
    for index, expected in enumerate(mixed.unstack()):
        np.testing.assert_array_equal(wide.unstack()[index], expected)
        np.testing.assert_array_equal(other.unstack()[list(order).index(index)], expected)
    batch = Padded.stack(examples)
    dirty = Padded(jnp.where(batch.mask, batch.values, jnp.nan), batch.sizes)
    np.testing.assert_array_equal(jax.jit(mix, static_argnums=2)(dirty, keys[:4], 0.4)[0].values, mixed.values)


def test_every_real_row_is_the_partner_of_one_other_wherever_the_fillers_are():
    examples = Padded.stack(draw(), batch_size=9)
    rows = np.array([4, 0, 5, 1, 2, 6, 7, 3, 8])  # with fillers between them
    batch = Padded(examples.values[rows], examples.sizes[rows])
    _, partner, _ = jax.jit(mix, static_argnums=2)(batch, keys_of(9), 0.4)
    real = np.flatnonzero(batch.real)
    partner = np.asarray(partner)
    np.testing.assert_array_equal(np.sort(partner[real]), real)
    assert (partner[real] != real).all()
    np.testing.assert_array_equal(partner[~np.asarray(batch.real)], np.flatnonzero(~np.asarray(batch.real)))


def test_an_example_without_mates_stays_itself():
    [image] = examples = draw(SIZES[:1])
    mixed, partner, _ = apply(examples, keys_of(3), rows=3)
    np.testing.assert_array_equal(partner, [0, 1, 2])
    np.testing.assert_allclose(mixed.unstack()[0], image, atol=1e-6)


def test_weights_are_of_the_beta_distribution_and_favor_the_example():
    examples = [np.ones((1, 1, 1), np.float32)] * 2000
    _, partner, weight = apply(examples, keys_of(2000), 0.4)
    assert (weight.min() >= 0.5, weight.max() <= 1.0) == (True, True)
    draws = np.random.default_rng(1).beta(0.4, 0.4, 200_000)
    expected = np.quantile(np.maximum(draws, 1 - draws), [0.1, 0.3, 0.5, 0.7])
    np.testing.assert_allclose(np.quantile(weight, [0.1, 0.3, 0.5, 0.7]), expected, atol=0.03)
    assert len(set(partner.tolist())) == 2000
    assert abs(np.corrcoef(partner, np.arange(2000))[0, 1]) < 0.07  # 3 standard deviations: any row, not the next one


def test_nothing_is_mixed_at_zero():
    batch = Padded.stack(draw(), batch_size=5)
    same, partner, weight = mix(batch, keys_of(5), 0.0)
    assert same is batch
    np.testing.assert_array_equal(partner, range(5))
    np.testing.assert_array_equal(weight, np.ones(5))


def test_alpha_must_not_be_negative():
    with pytest.raises(ValueError, match="alpha=-1.0: must be at least 0"):
        mix(Padded.stack(draw()), keys_of(4), -1.0)
