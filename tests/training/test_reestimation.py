"""Batch statistics re-estimated: one batch that holds everything, PyTorch's `update_bn`, and a loop in float64."""

import dataclasses

import jax
import numpy as np
import pytest
from synthetic_data import COUNTS, Damaged, make_recipe, randomized, relative

from fcnjax import layers
from fcnjax.data import ArraySource
from fcnjax.padded import Padded
from fcnjax.training import Trainer
from fcnjax.training.reestimation import reestimated_statistics

ONE_BATCH = {"batch_size": 64, "max_buckets": 1}
FIRST = "blocks.0.layers.1"


def batch_norm_recipe(**changes):
    return make_recipe(model={"norm": "batch", "dropout": 0.4}, **changes)


def measured(sources, **changes):
    """Returns the statistics of a trainer's randomized state, that state, and the trainer."""
    trainer = Trainer(batch_norm_recipe(**changes), sources)
    state = randomized(trainer.initial_state(0))
    return reestimated_statistics(trainer, state), state, trainer


def first_features(trainer, state, source, indices) -> np.ndarray:
    """Returns the inputs of the first norm at all positions [positions, C], from one unpadded example at a time."""
    convolution = trainer.model(state).blocks[0].layers[0]
    assert isinstance(convolution, layers.Convolution)
    call = jax.jit(lambda batch: convolution(batch).values)
    features = [np.asarray(call(Padded.stack([source[index].values])), np.float64) for index in indices]
    return np.concatenate([each.reshape(-1, each.shape[-1]) for each in features])


@pytest.mark.parametrize("changes", [ONE_BATCH, {"batch_size": 4, "max_buckets": 2}, {"batch_size": 5}])
def test_the_first_norm_sees_all_positions_alike_however_they_are_batched(sources, changes):
    """21 examples in batches of 4 and 5: some batches have filler rows, and their sizes differ."""
    statistics, state, trainer = measured(sources, **changes)
    features = first_features(trainer, state, sources["train"], range(COUNTS["train"]))
    assert relative(statistics[f"{FIRST}.mean"], features.mean(0)) < 1e-5
    assert relative(statistics[f"{FIRST}.variance"], features.var(0, ddof=1)) < 1e-5


def test_one_batch_gives_every_norm_the_statistics_that_pytorch_would_keep(sources):
    """With momentum 0, the moving averages after one batch of all examples are the statistics of that batch."""
    statistics, state, _ = measured(sources, **ONE_BATCH)
    fresh = Trainer(make_recipe(model={"norm": "batch"}, **ONE_BATCH), sources)
    model = fresh.model(state)
    norms = [block.layers[1] for block in model.blocks]
    for norm in norms:
        assert isinstance(norm, layers.BatchNorm)
        norm.momentum = 0.0
    model(Padded.stack([sources["train"][index].values for index in range(COUNTS["train"])]), train=True)
    for index, norm in enumerate(norms):
        assert relative(statistics[f"blocks.{index}.layers.1.mean"], norm.mean[...]) < 1e-5
        assert relative(statistics[f"blocks.{index}.layers.1.variance"], norm.variance[...]) < 1e-5


def test_pooled_moments_are_those_of_update_bn_and_what_lies_between_the_batches():
    """PyTorch averages the means and the variances of batches. With batches of equal count, the means agree, and the
    pooled variance is its average variance plus the variance of the means (law of total variance).
    """
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(size=(6, 5, 7, 4, 3)).astype(np.float32)  # 6 batches [5, 7, 4, 3]
    values += np.arange(6, dtype=np.float32)[:, None, None, None, None]
    norm = layers.BatchNorm(3)
    norm.measure()
    for batch in values:
        norm(Padded.stack(list(batch)))
    reference = torch.nn.BatchNorm2d(3)
    torch.optim.swa_utils.update_bn([torch.tensor(batch).permute(0, 3, 1, 2) for batch in values], reference)
    assert relative(norm.mean[...], reference.running_mean.numpy()) < 1e-6
    n, means = 5 * 7 * 4, values.astype(np.float64).mean((1, 2, 3))  # [6, C]
    within = reference.running_var.numpy().astype(np.float64) * (n - 1)  # sum of squares of one batch, on average
    total = (6 * within + n * np.square(means - means.mean(0)).sum(0)) / (6 * n - 1)
    assert relative(norm.variance[...], total) < 1e-6
    assert relative(norm.variance[...], values.reshape(-1, 3).astype(np.float64).var(0, ddof=1)) < 1e-6


def test_a_measuring_norm_ignores_fillers_and_batches_of_nothing_and_counts_from_its_first_batch():
    rng = np.random.default_rng(1)
    examples = [(10 + rng.normal(size=(*size, 2))).astype(np.float32) for size in ((3, 5), (1, 1), (4, 2))]
    norm = layers.BatchNorm(2)
    norm(Padded.stack([np.full((2, 2, 2), 7.0, np.float32)]), train=True)
    norm.measure()
    nothing = Padded(np.zeros((2, 3, 3, 2), np.float32), np.zeros((2, 2), np.int32))
    before = np.array(norm.mean[...])
    norm(nothing)
    np.testing.assert_array_equal(norm.mean[...], before)
    norm(Padded.stack(examples[:1], batch_size=3))
    norm(Padded.stack(examples[1:], shape=(9, 8), batch_size=4), train=True)
    norm(nothing)
    positions = np.concatenate([example.reshape(-1, 2) for example in examples]).astype(np.float64)
    assert norm.count is not None
    assert float(norm.count[...]) == len(positions)
    assert relative(norm.mean[...], positions.mean(0)) < 1e-6
    assert relative(norm.variance[...], positions.var(0, ddof=1)) < 1e-4  # the mean is ten standard deviations


def test_neither_the_state_nor_what_it_held_as_statistics_is_a_matter(sources):
    statistics, state, trainer = measured(sources, batch_size=5)
    before = jax.tree.map(np.array, state)
    other = dataclasses.replace(state, statistics={name: 2 + x for name, x in state.statistics.items()})
    again = reestimated_statistics(trainer, other)
    assert statistics.keys() == state.statistics.keys()
    for name, array in statistics.items():
        assert array.shape == state.statistics[name].shape
        assert array.dtype == state.statistics[name].dtype
        assert relative(again[name], array) < 1e-4
    jax.tree.map(np.testing.assert_array_equal, before, state)
    trainer.evaluate(dataclasses.replace(state, statistics=statistics), "test")


def test_neither_crop_nor_augmentation_nor_micro_batches_change_what_is_measured(sources):
    plain, _, _ = measured(sources, **ONE_BATCH)
    changes = {"crop": {"area": (0.3, 0.9)}, "mixup": 0.5, "augment": {"shift": 0.1}}
    for batching in ("bucket", "mixed"):
        changed, _, _ = measured(sources, **ONE_BATCH, **changes, batching=batching)
        for name in plain:
            if name.startswith(FIRST):  # later norms differ: micro-batches have fewer rows
                assert relative(changed[name], plain[name]) < 1e-5


def test_what_cannot_be_decoded_is_not_measured(sources):
    damaged = sources | {"train": Damaged(sources["train"], (0, 3, 11))}
    statistics, state, trainer = measured(damaged, batch_size=4, data={"on_error": "mask"})
    left = [index for index in range(COUNTS["train"]) if index not in (0, 3, 11)]
    features = first_features(trainer, state, sources["train"], left)
    assert relative(statistics[f"{FIRST}.mean"], features.mean(0)) < 1e-5


def test_after_training_the_batches_of_evaluation_are_better_normalized(sources):
    """A state with initial moving averages has a larger loss than one with measured statistics."""
    trainer = Trainer(batch_norm_recipe(epochs=3), sources)
    initial, state = trainer.initial_state(0), trainer.initial_state(0)
    for step in trainer.fit(state, 0):
        state = step.state
    stale = dataclasses.replace(state, statistics={name: 0 * x + 5 for name, x in initial.statistics.items()})
    fresh = dataclasses.replace(stale, statistics=reestimated_statistics(trainer, stale))
    assert trainer.evaluate(fresh, "train").loss < 0.8 * trainer.evaluate(stale, "train").loss


def test_a_network_without_running_statistics_gets_them_back_and_nothing_is_read(sources):
    class Unread(ArraySource):
        def __getitem__(self, index, /):
            raise AssertionError("no example is needed")

    train = Unread([np.ones((10, 10, 1), np.float32)] * 3, [0, 1, 2], tuple("abc"))
    trainer = Trainer(make_recipe(model={"norm": "group"}), sources | {"train": train})
    state = trainer.initial_state(0)
    assert reestimated_statistics(trainer, state) is state.statistics == {}
