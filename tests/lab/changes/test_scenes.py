"""Scenes: where the object lies, what surrounds it, and what draws them."""

import dataclasses

import numpy as np
import pytest

from fcnjax import lab
from fcnjax.data import ArraySource
from fcnjax.data.sources.resized import resample
from fcnjax.lab.changes import SceneSource

SCENES = lab.Scenes(canvas=(20, 30), digit=(8, 12), fragment=4, sparsity=60)
EMPTY = lab.Scenes(canvas=(20, 30), digit=(8, 12), fragment=4, sparsity=10**6)


def make_source(seed: int, first_id: int, count: int = 6) -> ArraySource:
    rng = np.random.default_rng(seed)
    values = [rng.integers(1, 255, (14, 11, 1)).astype(np.uint8) for _ in range(count)]
    return ArraySource(values, rng.integers(0, 3, count).tolist(), first_id=first_id)


def flat_source(value: int, first_id: int, count: int = 4) -> ArraySource:
    """Returns examples of one value each, which show where their parts end up."""
    return ArraySource([np.full((10, 10, 1), value, np.uint8)] * count, [0] * count, first_id=first_id)


@pytest.fixture
def splits() -> dict[str, ArraySource]:
    return {"train": make_source(0, 0), "validation": make_source(1, 100), "test": make_source(2, 200)}


def places_of(part: np.ndarray, canvas: np.ndarray) -> list[tuple[int, int]]:
    """Returns every place where a part stands on a canvas."""
    views = np.lib.stride_tricks.sliding_window_view(canvas[:, :, 0], part.shape[:2])
    return list(zip(*np.nonzero((views == part[:, :, 0]).all(axis=(2, 3))), strict=True))


def test_each_example_stands_whole_on_its_canvas_and_nothing_covers_it(splits):
    placed = SCENES(splits, 0)
    assert placed.keys() == splits.keys()
    for name, source in splits.items():
        for index, number in enumerate(source.ids.tolist()):
            example, side = placed[name][index], SCENES.side_of(number)
            assert example.values.shape == (*SCENES.canvas_of(number), 1) == (*placed[name].sizes[index], 1)
            assert example.values.dtype == np.uint8
            assert (example.id, example.label) == (number, source[index].label)
            assert len(places_of(resample(source[index].values, (side, side)), example.values)) == 1


def test_boxes_are_those_of_the_bright_pixels_of_scenes_without_clutter(splits):
    empty, cluttered = EMPTY(splits, 0), SCENES(splits, 0)
    for name in splits:
        for index, box in enumerate(empty[name].boxes):
            shown = empty[name][index].values[:, :, 0]
            rows, columns = np.nonzero(shown >= shown.max() / 2)
            assert box.tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_array_equal(cluttered[name].boxes, empty[name].boxes)


def test_sides_canvases_and_places_reach_both_ends_and_do_not_follow_each_other():
    numbers = range(400)
    sides = np.array([SCENES.side_of(number) for number in numbers])
    assert (sides.min(), sides.max()) == (8, 12)
    sizes = np.array([SCENES.canvas_of(number) for number in numbers])
    assert (sizes.min(), sizes.max()) == (20, 30)
    assert (sizes.max(axis=1) <= 1.5 * sizes.min(axis=1)).all()
    source = flat_source(200, 0, 400)
    placed = EMPTY({"train": source}, 0)["train"].on_canvas((20, 24))
    free = np.array([20, 24]) - sides[:, None]
    places = placed.boxes[:, :2]
    assert (places.min(axis=0) == 0).all()
    assert (places == free).any(axis=0).all()
    assert (places <= free).all()
    drawn = np.column_stack([places / free, sides, sizes])
    assert np.abs(np.corrcoef(drawn.T) - np.eye(5))[:3].max() < 0.2


def test_clutter_comes_from_other_training_examples_only():
    train = ArraySource([np.full((10, 10, 1), value, np.uint8) for value in (50, 150)], [0, 1], first_id=0)
    placed = SCENES({"train": train, "test": flat_source(250, 900)}, 0)
    for index, own, other in ((0, 50, 150), (1, 150, 50)):
        values = placed["train"][index].values
        assert (values == own).sum() == SCENES.side_of(index) ** 2
        assert set(np.unique(values)) == {0, own, other}
    seen = set()
    for index, number in enumerate(range(900, 904)):
        values = placed["test"][index].values
        assert (values == 250).sum() == SCENES.side_of(number) ** 2
        seen |= set(np.unique(values))
    assert seen == {0, 50, 150, 250}


def test_clutter_is_as_dense_on_every_canvas():
    source = flat_source(200, 0, 60)
    placed = SCENES({"train": flat_source(90, 1000), "test": source}, 0)["test"]
    shares = []
    for side in (30, 60, 120):
        scenes = placed.on_canvas((side, side))
        values = np.stack([scenes[index].values for index in range(60)])
        covered = np.array([(one == 90).sum() for one in values])
        assert (covered <= round(side**2 / 60) * 16).all()
        shares.append(covered.sum() / (values != 200).sum())
    expected = 1 - np.exp(-16 / 60)  # random parts overlap
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_clutter_lies_anywhere_and_its_brightest_part_is_seen():
    train = ArraySource([np.full((10, 10, 1), value, np.uint8) for value in (50, 150)], [0, 1], first_id=0)
    scenes = dataclasses.replace(SCENES, sparsity=2)
    placed = scenes({"train": train, "test": flat_source(0, 900, 60)}, 0)["test"].on_canvas((20, 20))
    values = np.stack([placed[index].values[:, :, 0] for index in range(60)])
    assert (values == 50).sum() < 0.2 * (values > 0).sum()  # half of it if the last part were seen
    assert (values > 0).any(axis=0).all()


def test_fragments_come_from_anywhere_in_an_example():
    rows, columns = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    train = ArraySource([(10 * rows + columns).astype(np.uint8)[:, :, None]] * 200, [0] * 200)
    scenes = lab.Scenes(canvas=(20, 30), digit=(8, 8), fragment=4)
    corners = scenes.fragments_of(train).values[:, 0, 0, 0]
    assert set(corners.tolist()) == {10 * row + column for row in range(5) for column in range(5)}


def test_fragments_are_parts_of_training_examples_as_large_as_those_in_scenes(splits):
    fragments = SCENES.fragments_of(splits["train"])
    assert fragments.values.shape == (6, 4, 4, 1)
    for number, part in zip(fragments.ids.tolist(), fragments.values, strict=True):
        side = SCENES.side_of(number)
        assert places_of(part, resample(splits["train"][number].values, (side, side)))


def test_a_scene_is_a_function_of_the_example_and_its_id(splits):
    first, again = SCENES(splits, 0)["test"], SCENES(splits, 7)["test"]
    moved = ArraySource([splits["test"][index].values for index in (4, 2)], [0, 0], first_id=204)
    other = SCENES({**splits, "test": moved}, 0)["test"]
    for index in range(6):
        np.testing.assert_array_equal(first[index].values, again[index].values)
    np.testing.assert_array_equal(first[4].values, other[0].values)
    assert not np.array_equal(first[2].values[:20, :20], other[1].values[:20, :20])  # another id


def test_placements_differ_and_canvases_keep_the_side(splits):
    placed = EMPTY(splits, 0)["test"]
    squares = [placed.on_canvas((40, 40)), placed.on_canvas((40, 40), 1), placed.on_canvas((80, 80))]
    extents = [each.boxes[:, 2:] - each.boxes[:, :2] for each in (placed, *squares)]
    assert all((extent == extents[0]).all() for extent in extents)
    assert (squares[0].boxes != squares[1].boxes).any(axis=1).all()
    assert all((each.sizes == side).all() for each, side in zip(squares, (40, 40, 80), strict=True))
    with pytest.raises(ValueError, match=r"canvas=\(40, 11\): must be at least 12 pixels"):
        placed.on_canvas((40, 11))


def test_contents_tell_scenes_apart(splits):
    placed = SCENES(splits, 0)["test"]
    fewer = {**splits, "train": make_source(0, 0, 5)}
    others = [placed.on_canvas((40, 40)), placed.on_canvas((40, 40), 1), EMPTY(splits, 0)["test"]]
    others += [SCENES(fewer, 0)["test"], splits["test"]]
    assert len({each.contents.sha256 for each in (placed, *others)}) == 6
    assert SCENES(splits, 3)["test"].contents == placed.contents


def test_scenes_are_composed_once(splits, monkeypatch):
    placed, composed = SCENES(splits, 0)["test"], []
    original = SceneSource._composed
    monkeypatch.setattr(placed, "_change", lambda *given: composed.append(given[1]) or original(placed, *given))
    values = [placed[index].values for index in (0, 3, 0, 3)]
    assert composed == [200, 203]
    np.testing.assert_array_equal(values[0], values[2])


def test_labels_are_those_that_came_before(splits):
    plain = SCENES(splits, 5)
    shuffled = dataclasses.replace(SCENES, before=lab.shuffled_labels())(splits, 5)
    expected = lab.shuffled_labels()(splits, 5)["train"].labels
    np.testing.assert_array_equal(shuffled["train"].labels, expected)
    assert [shuffled["train"][index].label for index in range(6)] == expected.tolist() != plain["train"].labels.tolist()
    for index in range(6):
        np.testing.assert_array_equal(shuffled["train"][index].values, plain["train"][index].values)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"digit": (16, 40)}, r"digit=\(16, 40\), canvas=\(32, 48\): must be increasing"),
        ({"digit": (20, 16)}, "must be increasing"),
        ({"fragment": 9}, r"fragment=9: must be 1 to half of digit=\(16, 24\)"),
        ({"sparsity": 0}, "sparsity=0: must be at least 1 pixel"),
    ],
)
def test_scenes_that_cannot_be_made_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        lab.Scenes(**fields)


def test_one_training_example_has_no_parts_of_others():
    with pytest.raises(ValueError, match="1 training examples: must be at least 2"):
        SCENES({"train": flat_source(9, 0, 1)}, 0)
