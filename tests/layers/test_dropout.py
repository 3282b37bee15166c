"""Dropout keyed by example: what is dropped, how often, and that draws depend only on the key."""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax import Padded, layers

KINDS = (layers.ChannelDropout, layers.StochasticDepth)


def signals(rows: int, channels: int, length: int = 1) -> Padded:
    return Padded(jnp.ones((rows, length, channels)), jnp.full((rows, 1), length))


def test_channel_dropout_drops_whole_channels_and_keeps_the_mean():
    batch, keys = signals(400, 8, length=3), jax.random.split(jax.random.key(0), 400)
    out = layers.ChannelDropout(0.25)(batch, train=True, keys=keys).values
    np.testing.assert_array_equal(out, jnp.broadcast_to(out[:, :1], out.shape))
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(float(out.mean()) - 1) < 0.03  # 3,200 draws: standard deviation 0.010


def test_stochastic_depth_drops_whole_examples_as_often_as_it_says():
    batch, keys = signals(3200, 2, length=3), jax.random.split(jax.random.key(0), 3200)
    out = layers.StochasticDepth(0.25)(batch, train=True, keys=keys).values
    np.testing.assert_array_equal(out, jnp.broadcast_to(out[:, :1, :1], out.shape))
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(float((out[:, 0, 0] == 0).mean()) - 0.25) < 0.023  # 3 standard deviations of 3,200 draws


@pytest.mark.parametrize("kind", KINDS)
def test_the_draws_for_an_example_do_not_depend_on_its_place(kind):
    examples = contract.draw_examples([(n % 4 + 1, n % 3 + 2) for n in range(12)], channels=4, seed=0)
    keys = jax.random.split(jax.random.key(1), 20)
    dropout = kind(0.5)

    def apply(order, shape=None, rows=None):
        batch = Padded.stack([examples[i] for i in order], shape=shape, batch_size=rows)
        fillers = range(12, 12 + batch.batch_size - len(order))
        return dropout(batch, train=True, keys=keys[np.array([*order, *fillers])]).unstack()

    together = apply(range(12))
    dropped = [not np.any(out) for out in together]
    assert kind is layers.ChannelDropout or 0 < sum(dropped) < 12, "all examples are alike: nothing was tested"
    elsewhere = apply(range(11, -1, -1), shape=(9, 7), rows=20)[::-1]
    alone = [apply([index])[0] for index in range(12)]
    for index in range(12):
        np.testing.assert_array_equal(elsewhere[index], together[index])
        np.testing.assert_array_equal(alone[index], together[index])


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_the_identity_in_evaluation(kind):
    batch = signals(40, 8)
    np.testing.assert_array_equal(kind(0.25)(batch).values, batch.values)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_streams_differ(kind):
    batch, keys = signals(64, 64), jax.random.split(jax.random.key(0), 64)
    first, second = (kind(0.5, stream=s)(batch, train=True, keys=keys).values for s in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_refuses_a_missing_key_and_a_rate_of_one(kind):
    with pytest.raises(ValueError, match="one PRNG key per example"):
        kind(0.5)(signals(4, 2), train=True)
    with pytest.raises(ValueError, match="rate=1.0 of dropout"):
        kind(1.0)
