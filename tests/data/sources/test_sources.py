import random
import subprocess
import sys

import numpy as np
import pytest

from fcnjax.data import (
    ArraySource,
    JoinedSource,
    PartialSource,
    ResizedSource,
    SizePolicy,
    TfdsSource,
    load_source,
)
from fcnjax.data.sources.example_checks import unusual_range
from fcnjax.data.tfds.any_size_digits import AnySizeDigits
from fcnjax.data.tfds.prepare import own_builders, prepare


@pytest.mark.parametrize("spatial", [(5,), (5, 3), (5, 3, 2)])
def test_array_source_returns_what_it_was_given(spatial):
    arrays = [np.full((*spatial, 2), 7, np.uint8), np.full((*[extent + 1 for extent in spatial], 2), 9, np.uint8)]
    source = ArraySource(arrays, [1, 0], ["cat", "dog"])
    assert len(source) == 2
    assert source.channels == 2
    assert source.sizes.tolist() == [list(array.shape[:-1]) for array in arrays]
    assert source.sizes.dtype == np.int32
    example = source[1]
    assert (example.id, example.label) == (1, 0)
    np.testing.assert_array_equal(example.values, arrays[1])


def test_array_source_keeps_uint8_and_makes_floats_float32():
    dtypes = [np.uint8, np.float16, np.float64]
    source = ArraySource([np.ones((2, 2, 1), dtype) for dtype in dtypes], [0, 1, 2])
    assert [source[index].values.dtype for index in range(3)] == [np.uint8, np.float32, np.float32]
    assert source.class_names == ("0", "1", "2")


GOOD = np.zeros((4, 4, 1))


@pytest.mark.parametrize(
    ("arrays", "labels", "names", "error", "says"),
    [
        ([], [], None, ValueError, r"values=\[\]: must hold"),
        ([GOOD], [0, 1], None, ValueError, "2 labels for 1 arrays"),
        ([GOOD, np.zeros(4)], [0, 0], None, ValueError, r"values\[1\].shape=\(4,\)"),
        ([GOOD, np.zeros((4, 4))], [0, 0], None, ValueError, r"values\[1\].shape=\(4, 4\)"),
        ([GOOD, np.zeros((4, 4, 3))], [0, 0], None, ValueError, r"values\[1\].shape=\(4, 4, 3\)"),
        ([GOOD, np.zeros((4, 0, 1))], [0, 0], None, ValueError, r"values\[1\].*at least 1"),
        ([GOOD, np.full((2, 2, 1), np.nan)], [0, 0], None, ValueError, r"values\[1\].*finite"),
        ([GOOD, np.zeros((4, 4, 1), np.int16)], [0, 0], None, TypeError, r"values\[1\].*int16"),
        ([GOOD, GOOD], [0, 2], ["a", "b"], ValueError, r"labels\[1\]=2: must be 0 to 1"),
        ([GOOD, GOOD], [0, -1], None, ValueError, r"labels\[1\]=-1: must be"),
        ([GOOD, GOOD], [0, 2**31 - 1], None, ValueError, r"labels\[1\]=2147483647: must be 0 to 9999"),
        ([GOOD, GOOD], [0, 0.5], None, ValueError, r"labels\[1\]=0.5: must be an integer"),
        ([GOOD, GOOD], [0, "1"], None, ValueError, r"labels\[1\]='1': must be an integer"),
        ([GOOD, GOOD], [0, 1], ["a", "a"], ValueError, "class_names: 'a' is there 2 times"),
    ],
)
def test_array_source_names_the_problem(arrays, labels, names, error, says):
    with pytest.raises(error, match=says):
        ArraySource(arrays, labels, names)


LAYOUTS = [
    # shapes of arrays, and what to do with them; None: they are examples
    ([(28, 28)], r"28 channels; add a missing channel axis with array\[..., None\], or confirm them with channels=28"),
    ([(28, 20), (28, 31)], r"array\[..., None\]"),
    ([(200, 300), (480, 500)], r"array\[..., None\]"),
    ([(12, 5000)], "array.T for signals"),
    ([(1, 900), (1, 800)], "array.T for signals"),
    ([(3, 32, 32)], r"array.transpose\(1, 2, 0\)"),
    ([(1, 28, 28), (1, 28, 28)], r"array.transpose\(1, 2, 0\)"),
    ([(3, 30, 40), (3, 31, 50)], r"array.transpose\(1, 2, 0\)"),
    ([(1, 8, 9, 10)], r"array.transpose\(1, 2, 3, 0\)"),
    (
        [(5, 32, 32)],
        r"give array.transpose\(1, 2, 0\), .* if the first axis is that of channels; .* array\[..., None\]",
    ),
    ([(10, 64, 64)] * 2, r"give array.transpose\(1, 2, 0\)"),
    ([(2, 20, 30), (2, 30, 41)], r"give array.transpose\(1, 2, 0\)"),
    ([(28, 28, 28)], r"channels; add a missing channel axis with array\[..., None\]"),
    ([(30, 40, 50), (31, 40, 52)], r"array\[..., None\]"),
    ([(9, 9, 3), (9, 9, 1)], "convert the examples first"),
    ([(5000, 12), (100, 12)], None),
    ([(128, 64)], None),
    ([(2, 16), (900, 16)], None),
    ([(500, 2)], None),
    ([(3, 3, 3), (3, 9, 3)], None),
    ([(3, 9, 4)], None),
    ([(9, 9, 200)], None),
    ([(3, 5, 6, 2)], None),
]


@pytest.mark.parametrize(("shapes", "says"), LAYOUTS)
def test_an_axis_that_is_none_of_channels_is_recognized(shapes, says):
    arrays, labels = [np.zeros(shape, np.uint8) for shape in shapes], [0] * len(shapes)
    if says is None:
        assert ArraySource(arrays, labels).channels == shapes[0][-1]
        return
    with pytest.raises(ValueError, match=says):
        ArraySource(arrays, labels)
    if len({shape[-1] for shape in shapes}) == 1:
        assert ArraySource(arrays, labels, channels=shapes[0][-1]).channels == shapes[0][-1]
        with pytest.raises(ValueError, match="must have channels=7 as its last axis"):
            ArraySource(arrays, labels, channels=7)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((2, 2, 1), 255), r"its values are 0 to 255, so give array.astype\(np.uint8\)"),
        (np.full((2, 2, 1), 9, np.uint16), "give array / 65535"),
        (np.full((2, 2, 1), 70_000), "give array / 131071"),
        (np.full((9, 1), -5, np.int16), "give array / 32768.0"),
        (np.full((9, 1), -(2**31), np.int32), "give array / 2147483648.0"),
        (np.full((2, 2, 1), True), r"array.astype\(np.float32\)"),
    ],
)
def test_integers_are_refused_with_their_scale(array, says):
    with pytest.raises(TypeError, match=says):
        ArraySource([array], [0])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.eye(2), r"labels of shape \(2, 2\): must be one label per example, \[N\]; give labels.argmax\(axis=1\)"),
        (np.zeros((2, 1)), r"give labels.ravel\(\)"),
    ],
)
def test_labels_of_another_shape_are_refused(labels, says):
    with pytest.raises(ValueError, match=says):
        ArraySource([GOOD, GOOD], labels)


def test_names_as_labels_are_classes():
    source = ArraySource([GOOD] * 3, np.array(["dog", "cat", "dog"]))
    assert (source.class_names, source.labels.tolist()) == (("cat", "dog"), [1, 0, 1])
    assert ArraySource([GOOD], ["cat"], ["dog", "cat"]).labels.tolist() == [1]
    with pytest.raises(ValueError, match=r"labels\[1\]: unknown class 'cow'"):
        ArraySource([GOOD, GOOD], ["cat", "cow"], ["dog", "cat"])


def test_ranges_that_are_none_of_pixels_are_told():
    def told(low: float, high: float, **options) -> str | None:
        return unusual_range(ArraySource([GOOD, np.array([[[low], [high]]], float)], [0, 0], **options))

    assert told(0, 255) == (
        "float images have values of 0 to 255 (example 1), and pixels have 0 to 1; divide pixels by 255, or give them "
        "as uint8."
    )
    normalized = told(-2, 2.5)
    assert normalized is not None
    assert "of -2 to 2.5 (example 1)" in normalized
    assert normalized.endswith("scale them to [0, 1] and leave the rest to config.data.mean and std.")
    assert told(-0.2, 1.2) is None
    assert unusual_range(ArraySource([np.full((9, 9, 1), 200, np.uint8)], [0])) is None
    assert unusual_range(ArraySource([np.full((9, 1), 200.0)], [0])) is None


def test_weights_and_groups_are_kept_by_parts_other_sizes_and_joined_sources():
    arrays = [np.ones((4 + index, 4, 1)) for index in range(4)]
    source = ArraySource(arrays, [0, 1, 0, 1], weights=[1, 2, 0.5, 4], groups=["p", 7, "p", "q"])
    assert getattr(source.weights, "dtype", None) == np.float32
    part = PartialSource(source, np.array([1, 3]), {})
    resized = ResizedSource(part, SizePolicy(max_side=4))
    whole = JoinedSource([resized, ArraySource(arrays, [0, 1, 0, 1], first_id=9, groups=[1, 2, 3, 4])])
    for kept, weights, groups in (
        (source, [1, 2, 0.5, 4], ["p", "7", "p", "q"]),
        (part, [2, 4], ["7", "q"]),
        (resized, [2, 4], ["7", "q"]),
        (whole, [2, 4, 1, 1, 1, 1], ["7", "q", "1", "2", "3", "4"]),
    ):
        assert (kept.weights.tolist(), list(kept.groups)) == (weights, groups)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"weights": [1, 0]}, r"weights\[1\]=0.0: must be finite and above 0"),
        ({"weights": [1, 1e-60]}, r"weights\[1\]=1e-60: must be finite"),
        ({"weights": [np.nan, 1]}, r"weights\[0\]=nan: must be finite"),
        ({"weights": [1]}, r"weights: must be one number for each of 2 examples, not \[1\]"),
        ({"weights": ["heavy", "light"]}, "weights: must be numbers"),
        ({"groups": ["p"]}, "groups: must be one for each of 2 examples, not 1"),
        ({"groups": ["p", None]}, r"groups\[1\]=None: must be a string or an integer"),
    ],
)
def test_weights_and_groups_that_cannot_be_are_named(given, says):
    with pytest.raises(ValueError, match=says):
        ArraySource([GOOD, GOOD], [0, 1], **given)


def test_ids_fit_32_bits():
    assert ArraySource([GOOD], [0], first_id=2**31 - 1).ids.tolist() == [2**31 - 1]
    for first_id in (2**31, -1):
        with pytest.raises(ValueError, match=f"first_id={first_id}: must be 0 or more, and every id below"):
            ArraySource([GOOD], [0], first_id=first_id)


def test_size_table_is_correct_and_read_only(digits):
    source = digits["test"]
    assert [source[index].values.shape for index in range(len(source))] == [(*size, 1) for size in source.sizes]
    with pytest.raises(ValueError, match="read-only"):
        source.sizes[0] = 1


def test_labels_are_those_of_the_examples(digits):
    source = digits["validation"]
    labels = source.labels
    assert labels is not None
    assert labels.tolist() == [source[index].label for index in range(len(source))]


def test_uncached_source_reads_the_same(data_dir, digits):
    source = TfdsSource(prepare(own_builders(data_dir)["any_size_digits"]), "validation", cache_bytes=10_000)
    assert source._kept is None
    np.testing.assert_array_equal(source.sizes, digits["validation"].sizes)
    for index in (0, 199, 7):
        ours, cached = source[index], digits["validation"][index]
        assert (ours.id, ours.label) == (cached.id, cached.label)
        np.testing.assert_array_equal(ours.values, cached.values)


def test_slices_of_a_split(data_dir, digits):
    source = load_source("any_size_digits/any_size", "train[:100]", data_dir)
    np.testing.assert_array_equal(source.sizes, digits["train"].sizes[:100])


@pytest.mark.parametrize(
    ("name", "split", "says"),
    [
        ("any_size_digit", "train", "unknown data set 'any_size_digit': did you mean 'any_size_digits'"),
        ("any_size_digits/28", "train", "unknown data set 'any_size_digits/28'.*Known: .*fixed_28x28"),
        (
            "any_size_digits",
            "valid",
            "unknown split of any_size_digits: 'valid': did you mean 'validation'",
        ),
        ("any_size_digits", "test[:401]", "split='test\\[:401\\]': must stay within the 400 examples of test"),
        ("any_size_digits", "test[400:]", "split='test\\[400:\\]' of any_size_digits: holds no example"),
    ],
)
def test_unknown_names_list_what_there_is(data_dir, name, split, says):
    with pytest.raises(ValueError, match=says):
        load_source(name, split, data_dir)


@pytest.mark.slow
def test_two_processes_may_prepare_at_once(tmp_path):
    """Same folder, same global random seed (TFDS draws the name of its temporary folder from that generator)."""
    code = (
        "import random, sys\n"
        "from fcnjax.data.by_name import load_source\n"
        "random.seed(0)\n"
        "print(len(load_source('any_size_digits', 'test', sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [(*run.communicate(timeout=120), run.returncode) for run in runs]
    for output, errors, status in outputs:
        assert (output, status) == ("400\n", 0), errors
    assert [path.name for path in (tmp_path / "any_size_digits" / "any_size").iterdir()] == ["1.0.0"]


def test_preparing_leaves_the_global_generator_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(AnySizeDigits, "download_and_prepare", lambda self: random.random())
    random.seed(0)
    prepare(own_builders(tmp_path)["any_size_digits"])
    assert random.random() == random.Random(0).random()


@pytest.mark.parametrize("collides", [True, False])
def test_a_lost_race_reads_what_the_winner_wrote(tmp_path, monkeypatch, collides):
    """The other process finishes while this one prepares (the rename fails), or just before (TFDS does nothing)."""

    def lose(self) -> None:
        monkeypatch.undo()
        AnySizeDigits(config="any_size", data_dir=tmp_path, file_format="array_record").download_and_prepare()
        if collides:
            raise OSError("Directory not empty")

    monkeypatch.setattr(AnySizeDigits, "download_and_prepare", lose)
    assert set(prepare(own_builders(tmp_path)["any_size_digits"]).info.splits) == {"train", "validation", "test"}


def test_failures_other_than_a_lost_race_are_raised(tmp_path, monkeypatch):
    def fail(self) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(AnySizeDigits, "download_and_prepare", fail)
    with pytest.raises(OSError, match="No space left"):
        prepare(own_builders(tmp_path)["any_size_digits"])
