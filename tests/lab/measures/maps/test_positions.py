"""What features tell about position, compared with plain computations of one image at a time."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from tiny_experiment import make_normed_runner

from fcnjax import lab
from fcnjax.data import ArraySource
from fcnjax.lab.measures.maps import positions
from fcnjax.lab.measures.maps.positions import coordinates, r2_of_position, rolled, untrained_arrays
from fcnjax.layers import BatchNorm
from fcnjax.padded import Padded
from fcnjax.training.step.step import merge

DEEP = {"model.channels": (4, 6)}
ARMS = tuple(lab.Arm(border, border, {**DEEP, "model.border": border}) for border in ("zero", "circular", "replicate"))
BLOCKS = {"first block": "conv1", "last block": "conv2"}


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> lab.Runner:
    return make_normed_runner(tmp_path_factory.mktemp("positions"), *ARMS)


@pytest.fixture(scope="module")
def run(runner) -> lab.TrainedRun:
    return runner.trained("zero", 0, 1)


def digits_like(count: int, rng: np.random.Generator) -> ArraySource:
    sizes = rng.integers(2, 6, size=(count, 2))
    return ArraySource([rng.normal(size=(*size, 1)).astype(np.float32) for size in sizes], np.zeros(count, int), ("a",))


def offset_of(image: np.ndarray, moved: np.ndarray) -> tuple[int, ...]:
    """Returns the offset by which an image of noise was rolled, found by trying all."""
    found = [at for at in np.ndindex(image.shape[:2]) if np.array_equal(np.roll(image, at, (0, 1)), moved)]
    assert len(found) == 1
    return found[0]


def features_alone(model, image: np.ndarray, block: str) -> np.ndarray:
    """Returns the features of one image, alone and without padding."""
    return np.asarray(model.features(Padded.stack([np.asarray(image, np.float32)]), until=block).values)[0]


def plain_r2(train: list[np.ndarray], test: list[np.ndarray], penalty: float) -> np.ndarray:
    """Returns R2 by the normal equations of a ridge regression with an intercept."""

    def positions_of(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width, channels = features.shape
        at = [((2 * i + 1) / height - 1, (2 * j + 1) / width - 1) for i in range(height) for j in range(width)]
        return features.astype(np.float64).reshape(-1, channels), np.array(at).reshape(-1, 2)

    pairs = [positions_of(each) for each in train]
    x, y = np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])
    middle, scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    x = (x - middle) / scale
    slopes = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
    values = []
    for features in test:
        x, at = positions_of(features)
        errors = ((x - middle) / scale) @ slopes + y.mean(axis=0) - at
        values.append(1 - np.sum(errors**2) / np.sum(at**2) if len(at) > 1 else np.nan)
    return np.array(values)


def test_coordinates_are_centers_of_positions():
    np.testing.assert_allclose(coordinates((2, 4))[:3], [(-0.5, -0.75), (-0.5, -0.25), (-0.5, 0.25)])
    assert coordinates((3, 3))[4].tolist() == [0, 0]
    assert coordinates((5,))[:, 0].tolist() == pytest.approx([-0.8, -0.4, 0, 0.4, 0.8])


@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_r2_is_that_of_a_ridge_regression_for_each_image(penalty):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(2, 5))

    def features(extents: tuple[int, int]) -> np.ndarray:
        told = coordinates(extents).reshape(*extents, 2) @ mixing
        return told + rng.normal(size=(*extents, 5))

    train, test = ([features((h, w)) for h in (2, 3, 5) for w in (2, 4, 5)] for _ in range(2))
    found = r2_of_position(train, test, penalty)
    np.testing.assert_allclose(found, plain_r2(train, test, penalty))
    assert 0.2 < found.mean() < 0.95
    told = [coordinates(each.shape[:2]).reshape(*each.shape[:2], 2) @ mixing for each in test]
    np.testing.assert_allclose(r2_of_position(told, told, 0.0), 1.0)


def test_r2_pools_the_axes_of_one_image_like_scikit_learn():
    rng = np.random.default_rng(1)
    train, test = (
        [rng.normal(size=(h, w, 2)) + coordinates((h, w)).reshape(h, w, 2) for h, w in ((4, 3), (2, 5))] * 3
        for _ in range(2)
    )
    fitted = LinearRegression().fit(
        np.concatenate([each.reshape(-1, 2) for each in train]),
        np.concatenate([coordinates(each.shape[:2]) for each in train]),
    )
    predicted = [(coordinates(each.shape[:2]), fitted.predict(each.reshape(-1, 2))) for each in test]
    expected = [r2_score(*pair, multioutput="variance_weighted") for pair in predicted]
    np.testing.assert_allclose(r2_of_position(train, test, 0.0), np.array(expected, np.float64))


def test_images_of_one_position_have_no_r2_and_shuffled_coordinates_tell_nothing():
    rng = np.random.default_rng(2)
    train = [coordinates((4, 4)).reshape(4, 4, 2) + 0.1 * rng.normal(size=(4, 4, 2)) for _ in range(40)]
    test = [train[0], np.zeros((1, 1, 2)), train[1], np.zeros((0, 0, 2))]
    assert np.isnan(r2_of_position(train, test)).tolist() == [False, True, False, True]
    assert r2_of_position(train, train).min() > 0.8
    assert r2_of_position(train, train, shuffle=np.random.default_rng(0)).max() < 0.3


def test_rolled_images_are_rolled_by_offsets_that_are_all_equally_likely():
    rng = np.random.default_rng(3)
    source = digits_like(400, rng)
    moved, again = rolled(source), rolled(source)
    np.testing.assert_array_equal(moved.sizes, source.sizes)
    shares = []
    for index in range(len(source)):
        offset = offset_of(source[index].values, moved[index].values)
        np.testing.assert_array_equal(again[index].values, moved[index].values)
        shares.append((np.array(offset) + 0.5) / source.sizes[index])
    np.testing.assert_allclose(np.mean(shares, axis=0), 0.5, atol=0.06)
    np.testing.assert_allclose(np.std(shares, axis=0), np.sqrt(1 / 12), atol=0.04)
    assert abs(np.corrcoef(np.transpose(shares))[0, 1]) < 0.15


@pytest.mark.long
def test_accuracy_on_rolled_images_is_that_of_each_alone(run):
    measured = lab.RolledScores()(run)
    source = rolled(run.sources["test"])
    for index in range(len(run.labels)):
        logits = run.model(Padded.stack([np.asarray(source[index].values, np.float32)]))[0]
        assert measured.values["accuracy, rolled"][index] == (logits.argmax() == run.labels[index])


@pytest.mark.long
def test_the_probe_is_fitted_on_training_images_and_tested_on_test_images(run):
    measured = lab.PositionProbe(penalty=2.0)(run)
    assert measured is not None
    names = (*BLOCKS, "shuffled", "untrained", "not rolled")
    assert measured.values.keys() == {f"R2 of position, {name}" for name in names}
    train, test = run.sources["train"], run.sources["test"]
    fresh = merge(run.trainer.graphdef, *untrained_arrays(run, rolled(train)))
    cases = {name: (run.model, block, rolled) for name, block in BLOCKS.items()}
    cases |= {"untrained": (fresh, "conv2", rolled), "not rolled": (run.model, "conv2", lambda source: source)}
    for name, (model, block, change) in cases.items():
        fitted, tested = (
            [features_alone(model, each[index].values, block) for index in range(len(each))]
            for each in (change(train), change(test))
        )
        found = measured.values[f"R2 of position, {name}"]
        np.testing.assert_allclose(found, plain_r2(fitted, tested, 2.0), rtol=1e-3, atol=1e-4)
        assert not np.isnan(found).all()
    shuffled, ours = measured.values["R2 of position, shuffled"], measured.values["R2 of position, last block"]
    np.testing.assert_array_equal(np.isnan(shuffled), np.isnan(ours))
    assert not np.allclose(shuffled, ours, equal_nan=True)


def test_a_bounded_number_of_training_images_fits_the_probe(run, monkeypatch):
    counts = []

    def noted(train, test, *options):
        counts.append((len(train), len(test)))
        return np.zeros(len(test))

    monkeypatch.setattr(positions, "r2_of_position", noted)
    assert lab.PositionProbe(images=7)(run) is not None
    assert set(counts) == {(7, len(run.labels))}
    assert lab.PositionProbe(arms=("circular",))(run) is None
    assert lab.RolledFeatures(arms=("circular",))(run) is None


def test_the_untrained_network_has_initial_weights_and_statistics_of_the_images(run):
    source = rolled(run.sources["train"])
    weights, statistics = untrained_arrays(run, source)
    initial = run.trainer.initial_state(run.recipe.seed)
    for name, array in initial.weights.items():
        np.testing.assert_array_equal(weights[name], array)
        trained = run.state.weights[name]
        assert name.endswith("bias") or not np.array_equal(trained, array)
    model, total = merge(run.trainer.graphdef, initial.weights, initial.statistics), 0
    norms = [layer for block in model.blocks for layer in block.layers if isinstance(layer, BatchNorm)]
    sums = [np.zeros((2, norm.mean[...].size)) for norm in norms]
    for rows, inputs, _ in run.batches(source):
        for norm in norms:
            norm.momentum = 0.0  # the running statistics become those of the batch
        model(inputs, train=True)
        count = int((rows >= 0).sum())
        total += count
        for index, norm in enumerate(norms):
            sums[index] += count * np.stack([norm.mean[...], norm.variance[...]])
    assert total == len(source)
    for index, name in enumerate(("blocks.0.layers.1", "blocks.1.layers.1")):
        found = np.stack([statistics[f"{name}.mean"], statistics[f"{name}.variance"]])
        np.testing.assert_allclose(found, sums[index] / total, rtol=1e-4, atol=1e-5)


def test_features_roll_with_the_image_only_if_the_border_is_circular(runner, run):
    measured = lab.RolledFeatures()(runner.trained("circular", 0, 1))
    assert measured is not None
    assert 0 <= measured.numbers["features differ, rolled"] < 1e-12
    for other in (run, runner.trained("replicate", 0, 1)):
        measured = lab.RolledFeatures()(other)
        assert measured is not None
        assert measured.numbers["features differ, rolled"] > 1e-3


def test_features_that_move_another_way_than_the_image_differ(runner, monkeypatch):
    shifted = positions._shifted
    monkeypatch.setattr(positions, "_shifted", lambda values, shift: shifted(values, np.minimum(shift, 2)))
    measured = lab.RolledFeatures()(runner.trained("circular", 0, 1))
    assert measured is not None  # its images are rolled by 2 pixels, half of the stride, and its features by 1 position
    assert measured.numbers["features differ, rolled"] > 1e-3
