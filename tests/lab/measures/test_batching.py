"""What batching changes, compared with plain computations in float32 and numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted_compilations
from tiny_experiment import make_normed_runner

from fcnjax import lab
from fcnjax.data.sources.resized import resample
from fcnjax.lab.measures import batching
from fcnjax.padded import Padded
from fcnjax.training.step.step import merge

SHALLOW = lab.Arm("shallow", "batch norm", {"head.pool_at": 0})
DEEP = lab.Arm("deep", "two batch norms", {"head.pool_at": 0, "model.channels": (4, 4)})
GROUP = lab.Arm("group", "group norm", {"head.pool_at": 0, "model.norm": "group"})
SIZES = ((5, 5), (5, 5), (5, 5), (5, 9), (11, 6), (12, 12))  # those of the batch, as the largest bucket is 12x12
PARTS = (slice(0, 4), slice(4, 6))  # its two buckets


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> lab.Runner:
    return make_normed_runner(tmp_path_factory.mktemp("batching"), SHALLOW, DEEP, GROUP)


@pytest.fixture(scope="module")
def runs(runner) -> dict[str, lab.TrainedRun]:
    return {name: runner.trained(name, 0, 1) for name in ("shallow", "deep", "group")}


def images_of(run: lab.TrainedRun) -> list[np.ndarray]:
    return [resample(run.sources["test"][index].values, size) for index, size in enumerate(SIZES)]


def gradient_of(run: lab.TrainedRun, images: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Returns the gradients of the summed loss of one batch, as in training, in one array."""

    def loss(weights):
        logits = merge(run.trainer.graphdef, weights, run.state.statistics)(Padded.stack(images), train=True)
        return -jnp.sum(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])

    gradients = jax.grad(loss)(run.state.weights)
    return np.concatenate([np.ravel(gradients[name]) for name in sorted(gradients)])


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.fixture
def without_gradients(monkeypatch):
    """Leaves out the gradients, whose programs take seconds to compile."""
    monkeypatch.setattr(batching, "_gradient_numbers", lambda run, batches: {})


@pytest.mark.parametrize("name", [pytest.param("shallow", marks=pytest.mark.long), "group"])
def test_gradients_in_buckets_are_those_of_plain_batches(runs, name):
    run = runs[name]
    measured = lab.InBuckets()(run)
    assert measured is not None
    images, labels = images_of(run), run.labels[: len(SIZES)]
    whole = gradient_of(run, images, labels)
    parts = [gradient_of(run, images[part], labels[part]) for part in PARTS]
    weighted_alike = (parts[0] / 4 + parts[1] / 2) / 2
    zeros = [np.pad(image, [*((0, 12 - extent) for extent in image.shape[:2]), (0, 0)]) for image in images]
    numbers = measured.numbers
    assert numbers["gradients differ, mean of buckets"] == pytest.approx(
        difference(weighted_alike, whole / 6), rel=0.01
    )
    unmasked = difference(gradient_of(run, zeros, labels), whole)
    assert numbers["gradients differ, not masked"] == pytest.approx(unmasked, rel=0.01)
    if name == "group":
        assert 0 <= numbers["gradients differ, in buckets"] < 1e-13
    else:
        alone = sum(gradient_of(run, [image], labels[i : i + 1]) for i, image in enumerate(images))
        expected = max(np.abs(sum(parts) - whole).max(), np.abs(alone - whole).max()) / np.abs(whole).max()
        assert numbers["gradients differ, in buckets"] == pytest.approx(expected, rel=0.01)


def convolved(run: lab.TrainedRun, images: list[np.ndarray]) -> np.ndarray:
    """Returns the inputs of the first norm at all positions of images, each alone: [positions, C]."""
    layer = run.model.blocks[0].layers[0]
    found = [np.asarray(layer(Padded.stack([image])).values, np.float64) for image in images]
    return np.concatenate([each.reshape(-1, each.shape[-1]) for each in found])


@pytest.mark.usefixtures("without_gradients")
@pytest.mark.parametrize("name", ["shallow", "deep"])
def test_the_first_norm_pools_over_buckets_by_their_pixels(runs, name):
    run = runs[name]
    measured = lab.InBuckets()(run)
    assert measured is not None
    images = images_of(run)

    def moments(images):
        values = convolved(run, images)
        return np.stack([values.mean(axis=0), values.var(axis=0, ddof=1)])

    weighted_alike = np.mean([moments(images[part]) for part in PARTS], axis=0)
    expected = difference(weighted_alike, moments(images))
    assert measured.numbers["statistics differ, mean of buckets"] == pytest.approx(expected, rel=1e-3)
    assert 0 <= measured.numbers["statistics differ, in buckets"] < 1e-13


@pytest.mark.usefixtures("without_gradients")
def test_pixels_must_be_counted_to_pool_statistics(runs, monkeypatch):
    make = batching.make_pooling_step

    def without_counts(graphdef):
        def pool(weights, statistics, counts, batch):
            statistics, moved = make(graphdef)(weights, statistics, counts, batch)
            return statistics, [jnp.minimum(count, 1.0) for count in moved]

        return pool

    monkeypatch.setattr(batching, "make_pooling_step", without_counts)
    measured = lab.InBuckets()(dataclasses.replace(runs["shallow"], programs={}))
    assert measured is not None
    assert measured.numbers["statistics differ, in buckets"] > 1e-3


def test_networks_without_batch_norm_have_no_statistics_and_other_arms_are_left_out(runs):
    measured = lab.InBuckets(("group",))(runs["group"])
    assert measured is not None
    assert not any("statistics" in name for name in measured.numbers)
    assert lab.InBuckets(("group",))(runs["deep"]) is None
    assert lab.RemeasuredStatistics(("deep",))(runs["shallow"]) is None


def test_a_single_norm_is_measured_again_over_all_training_pixels(runs):
    run = runs["shallow"]
    measured = lab.RemeasuredStatistics(("shallow",))(run)
    assert measured is not None
    train = run.sources["train"]
    values = convolved(run, [train[index].values for index in range(len(train))])
    (mean,) = (name for name in run.state.statistics if name.endswith("mean"))
    variance = mean.replace("mean", "variance")
    exact = {mean: values.mean(axis=0), variance: values.var(axis=0, ddof=1)}
    model = merge(run.trainer.graphdef, run.state.weights, {name: jnp.float32(each) for name, each in exact.items()})
    for index in range(len(run.labels)):
        predicted = np.argmax(model(Padded.stack([run.sources["test"][index].values]))[0])
        for how in ("by bucket", "of all sizes"):  # equal: nothing before the first norm depends on the batch
            assert measured.values[f"accuracy, statistics {how}"][index] == (predicted == run.labels[index])
    shift = (np.asarray(run.state.statistics[mean]) - exact[mean]) / np.sqrt(exact[variance])
    expected = np.sqrt(np.mean(shift**2))
    assert measured.numbers["statistics differ, running"] == pytest.approx(expected, rel=1e-3)
    assert measured.numbers["statistics differ, by bucket or not"] < 1e-6


def test_the_statistics_of_later_norms_depend_on_who_shares_a_batch(runs):
    measured = lab.RemeasuredStatistics(("deep",))(runs["deep"])
    assert measured is not None
    assert measured.numbers["statistics differ, by bucket or not"] > 1e-4


def test_accuracies_are_those_of_the_measured_statistics(runs, monkeypatch):
    run = runs["deep"]
    shifted = {name: each + 3.0 for name, each in run.state.statistics.items()}
    asked = []

    def noted(run, buckets):
        asked.append(buckets.shapes.tolist())
        return shifted if len(asked) == 1 else run.state.statistics

    monkeypatch.setattr(batching, "_measured_again", noted)
    measured = lab.RemeasuredStatistics(("deep",))(run)
    assert measured is not None
    assert asked == [run.trainer.buckets.shapes.tolist(), [run.trainer.buckets.shapes.max(axis=0).tolist()]]
    assert len(asked[0]) == 2
    np.testing.assert_array_equal(
        measured.values["accuracy, statistics of all sizes"], lab.Scores()(run).values["accuracy"]
    )
    moved = merge(run.trainer.graphdef, run.state.weights, shifted)
    for index in range(len(run.labels)):
        predicted = np.argmax(moved(Padded.stack([run.sources["test"][index].values]))[0])
        assert measured.values["accuracy, statistics by bucket"][index] == (predicted == run.labels[index])


def test_a_second_run_of_an_arm_compiles_nothing(runner, runs):
    measures, programs = (lab.InBuckets(), lab.RemeasuredStatistics(("shallow",))), {}

    def compiled(run):
        with counted_compilations() as seen:
            for measure in measures:
                assert measure(dataclasses.replace(run, programs=programs)) is not None
        return [kind for kind in ("gradient", "pool") if any(kind in name for name in seen)]

    assert compiled(runs["shallow"]) == ["gradient", "pool"]
    assert compiled(runner.trained("shallow", 0, 0)) == []
