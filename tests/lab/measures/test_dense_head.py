"""A flatten-dense head at other sizes, against its dense layer applied by hand to each window of the features."""

import dataclasses

import numpy as np
import pytest
from tiny_experiment import CLASSES, COUNTS, make_experiment, make_recipe, make_runner

from fcnjax import lab
from fcnjax.data import save_npz
from fcnjax.data.sources.resized import resample
from fcnjax.heads import convolutionalize
from fcnjax.padded import Padded

SIDE, EXTENT = 12, 6  # of images, and of their features: one block halves the size
FLATTEN = lab.Arm("flatten", "flatten", {"head.flatten": (EXTENT, EXTENT), "head.dropout": 0.25})
GAP = lab.Arm("gap", "GAP", {"head.pool_at": 0})
PADDED = lab.SlidingCrops("flatten", "padded", (SIDE, SIDE), (2, 3))
NO_PADS = lab.SlidingCrops("flatten", "no pads", (14, 14), (2, 3), changes=(("model.border", "valid"),))


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> lab.Runner:
    """Runs on noise of one size, with a batch norm and a flatten-dense head or GAP."""
    folder, rng = tmp_path_factory.mktemp("dense"), np.random.default_rng(0)
    for split, count in COUNTS.items():
        labels = np.arange(count) % 3
        values = [(rng.normal(size=(SIDE, SIDE, 1)) + label).astype(np.float32) for label in labels]
        save_npz(folder / "noise.npz", values, labels, CLASSES, split)
    recipe = make_recipe(folder)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, norm="batch"))
    return make_runner(folder, experiment=make_experiment(arms=(FLATTEN, GAP)), recipe=recipe)


@pytest.fixture(scope="module")
def run(runner) -> lab.TrainedRun:
    return runner.trained("flatten", 0, 1)


def scores_by_hand(run: lab.TrainedRun, image: np.ndarray) -> np.ndarray:
    """Returns the dense layer's scores of each window of the features of an image, [H, W, K]."""
    batch = Padded.stack([image])
    for block in run.model.blocks:  # the network itself refuses other sizes
        batch = block(batch)
    (features,) = batch.unstack()
    dense = run.model.head.layers[-1]
    places = [extent - EXTENT + 1 for extent in features.shape[:2]]
    scores = np.zeros((*places, len(CLASSES)))
    for i, j in np.ndindex(*places):
        window = features[i : i + EXTENT, j : j + EXTENT].reshape(-1)
        scores[i, j] = window @ np.asarray(dense.kernel[...]) + np.asarray(dense.bias[...])
    return scores


def test_without_pads_the_convolution_scores_sliding_crops_and_with_zeros_it_does_not(run):
    same, other = NO_PADS(run), PADDED(run)
    assert same is not None
    assert other is not None
    assert same.numbers.keys() == {"crops differ, no pads"}
    assert 0 <= same.numbers["crops differ, no pads"] < 1e-13
    assert other.numbers["crops differ, padded"] > 1e-3


def test_the_difference_from_crops_is_that_of_the_trained_weights(run):
    measured = dataclasses.replace(PADDED, examples=2)(run)
    assert measured is not None
    test = run.sources["test"]
    images = [resample(test[index].values, (SIDE + 2, SIDE + 4)) for index in (0, len(test) - 1)]
    maps = np.stack([scores_by_hand(run, image) for image in images])
    crops = [image[2 * i :, 2 * j :][:SIDE, :SIDE] for image in images for i, j in np.ndindex(2, 3)]
    dense = np.concatenate([np.asarray(run.model(Padded.stack([crop]))) for crop in crops]).reshape(maps.shape)
    means = maps.mean((1, 2)), dense.mean((1, 2))
    expected = [np.abs(a - b).max() / np.abs(b).max() for a, b in ((maps, dense), means)]
    assert measured.numbers["crops differ, padded"] == pytest.approx(max(expected), rel=1e-4)


def rearranged(head, change):
    """Returns the head as a convolution whose kernel is changed."""
    made = convolutionalize(head)
    kernel = made.layers[-1].kernel
    kernel[...] = change(kernel[...])
    return made


@pytest.mark.parametrize("change", [lambda k: k.swapaxes(0, 1), lambda k: k[::-1], lambda k: 1.001 * k])
def test_a_wrong_convolution_is_noticed(run, monkeypatch, change):
    monkeypatch.setattr("fcnjax.lab.measures.dense_head.convolutionalize", lambda head: rearranged(head, change))
    measured = NO_PADS(dataclasses.replace(run, programs={}))
    assert measured is not None
    assert measured.numbers["crops differ, no pads"] > 1e-4


def upside_down(model, batch):
    """Returns the class maps of a network upside down; their mean is right."""
    maps = model.head.class_maps(model.features(batch))
    return maps.replace(maps.values[:, ::-1], maps.sizes)


def test_positions_that_are_right_on_average_alone_are_noticed(run, monkeypatch):
    monkeypatch.setattr("fcnjax.models.Classifier.class_maps", upside_down)
    measured = NO_PADS(dataclasses.replace(run, programs={}))
    assert measured is not None
    assert measured.numbers["crops differ, no pads"] > 1e-3


def test_accuracy_at_another_size_is_that_of_the_mean_score(run):
    measured = lab.AtAnySize(((SIDE, SIDE), (16, 13), (20, 24)))(run)
    assert measured is not None
    assert measured.numbers == {"sizes refused": 2.0}
    for index in range(len(run.labels)):
        values = run.sources["test"][index].values
        for size in ((SIDE, SIDE), (16, 13), (20, 24)):
            scores = scores_by_hand(run, resample(values, size)).mean((0, 1))
            found = measured.values[f"accuracy, scaled to {size[0]}x{size[1]}"][index]
            assert found == (scores.argmax() == run.labels[index])
    accuracies = np.array([values.mean() for values in measured.values.values()])
    assert ((accuracies > 0) & (accuracies < 1)).any()


def test_gap_takes_any_size_as_it_is(runner):
    run, sizes = runner.trained("gap", 0, 1), ((SIDE, SIDE), (20, 24))
    measured, plain = lab.AtAnySize(sizes)(run), lab.AtSizes(sizes)(run)
    assert measured is not None
    assert plain is not None
    assert measured.numbers == {"sizes refused": 0.0}
    for name, values in plain.values.items():
        np.testing.assert_array_equal(measured.values[name], values)


def test_arms_that_are_not_named_are_left_out(run):
    assert lab.AtAnySize(((20, 24),), arms=("gap",))(run) is None
    assert lab.SlidingCrops("gap", "padded", (SIDE, SIDE), (2, 3))(run) is None


def test_runs_share_compiled_programs(runner, run):
    NO_PADS(run)
    count = len(run.programs)
    other = runner.trained("flatten", 0, 0)
    assert other.programs is run.programs
    measured = NO_PADS(other)
    assert measured is not None
    assert len(run.programs) == count
