"""The overview of a data set: its numbers, what it ignores, its warnings, and its text at 80 columns."""

import numpy as np
import pytest

from fcnjax.data import ArraySource, Ignored, ResizedSource, SizePolicy, Source, UnreadableExample
from fcnjax.data.overview import data_overview, measure_moments, overview_text
from fcnjax.data.overview.overview_text import WIDTH


class Unlabeled(Source):
    """A source that knows its labels only from its examples, and cannot decode some of them."""

    def __init__(self, source, broken=()):
        self.source, self.broken = source, set(broken)
        self.sizes, self.ids = source.sizes, source.ids
        self.class_names, self.channels = source.class_names, source.channels

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index in self.broken:
            raise UnreadableExample(self.name_of(index), "damaged")
        return self.source[index]


def images(count, *, seed=0, names=("cat", "dog"), channels=1, dtype: type = np.uint8):
    rng = np.random.default_rng(seed)
    values = [rng.integers(0, 256, (8 + n % 3, 9, channels)).astype(dtype) for n in range(count)]
    return ArraySource(values, [n % len(names) for n in range(count)], list(names), first_id=1000 * seed)


def test_counts_sizes_and_values_are_those_of_the_examples():
    train, test = images(9), images(5, seed=1)
    found = data_overview({"train": train, "test": test})
    assert found.examples == {"train": 9, "test": 5}
    assert {name: each.tolist() for name, each in found.class_counts.items()} == {"train": [5, 4], "test": [3, 2]}
    assert found.sizes == found.native == ((8, 9), (9, 9), (10, 9))
    assert found.warnings == found.leaks == found.absent == ()
    values = np.concatenate([train[index].values.reshape(-1) for index in (0, 1, 2, 3, 5, 6, 7, 8)]) / 255
    assert found.values.examples == 8
    assert found.values.mean == pytest.approx(values.mean(), rel=1e-5)
    assert found.values.peak == pytest.approx(values.max())


def test_sizes_before_and_after_a_policy_are_both_told():
    sources = {"train": ResizedSource(images(9), SizePolicy(max_side=5))}
    text = overview_text(data_overview(sources), "mine")
    told = "sizes 4x5 to 5x5, median 4x5; 1 channel; before the size policy 8x9 to 10x9, median 9x9"
    assert told in " ".join(text.split())


def test_what_was_ignored_and_left_out_is_told_once_for_each_reason():
    train, test = images(9), images(5, seed=1)
    train.ignored = test.ignored = (Ignored("a table", 2, "labels.csv"),)
    train.notes, test.notes = ("taken from data/",), ("taken from data/", "folds")
    train.unreadable = {f"{n}.png": f"truncated at byte {n}" for n in range(60)}
    test.unreadable = {"z.png": "empty"}
    found = data_overview({"train": train, "test": test})
    assert found.unreadable == (Ignored("truncated at byte 0", 60, "0.png"), Ignored("empty", 1, "z.png"))
    lines = overview_text(found, "mine").splitlines()
    assert lines[0] == "mine: 9 train, 5 test examples in 2 classes"
    assert lines[-6:] == [
        "ignored   2 files: a table, such as labels.csv",
        "left out  60 files: truncated at byte 0, such as 0.png",
        "          1 file: empty, such as z.png",
        "note      taken from data/",
        "          folds",
        "          1 class has fewer than 5 training examples: dog (4)",
    ]


def test_absent_classes_and_leaks_are_warned_of_and_refused_as_asked():
    train, values = images(12, names=("Cat", "dog")), images(5, seed=1)
    shared = [train[3].values, *(values[n].values for n in range(4))]
    names = ["Cat", "dog", "cat"]
    sources = {
        "train": ArraySource([train[n].values for n in range(12)], [n % 2 for n in range(12)], names),
        "test": ArraySource(shared, [2, 2, 2, 1, 1], names),
    }
    found = data_overview(sources)
    assert found.warnings == (
        "1 class has no training example: 'cat' (3 in test; train has 'Cat', which differs in case)",
        "1 of 5 examples of test is also in train, such as example 3 = example 0",
    )
    found.refuse("allow", "warn")
    with pytest.raises(ValueError, match=r"^config.data.absent_classes=refuse"):
        found.refuse("refuse", "warn")
    with pytest.raises(ValueError, match=r"^config.data.leakage=refuse"):
        found.refuse("allow", "refuse")
    assert data_overview(sources, leakage="ignore").leaks == ()


def test_one_class_alone_is_refused():
    found = data_overview({"train": images(9, names=("cat",))})
    assert found.warnings == ("there is one class alone: nothing can be learned",)
    with pytest.raises(ValueError, match="at least two classes, and all examples are of 'cat'"):
        found.refuse("refuse", "warn")


def test_labels_that_are_not_known_are_not_read():
    sources = {"train": Unlabeled(images(9), broken=range(9)), "test": images(5, seed=1)}
    found = data_overview(sources)
    assert (found.class_counts["train"], found.values, found.absent) == (None, None, ())
    text = overview_text(found, "mine")
    assert "cat        -     3\n" in text
    assert "the labels of train are not known before training" in text
    assert "none of the examples that were tried could be decoded" in text


@pytest.mark.parametrize(
    ("values", "rate", "warning"),
    [
        (
            np.full((6, 6, 1), 7, np.uint8),
            None,
            ("blank, of one value",),
        ),
        (
            np.linspace(-1e-5, 1e-5, 99, dtype=np.float32)[:, None],
            8000,
            ("silent, with all amplitudes below 0.001",),
        ),
        (np.linspace(-1e-5, 1e-5, 99, dtype=np.float32)[:, None], None, ()),
    ],
)
def test_blank_images_and_silent_recordings_are_named(values, rate, warning):
    other = np.linspace(0, 1, values.size).astype(np.float32).reshape(values.shape)
    other = other if values.dtype == np.float32 else (255 * other).astype(np.uint8)
    found = data_overview({"train": ArraySource([values, other, values], [0, 1, 0])}, sample_rate=rate)
    assert found.warnings == tuple(f"2 of 3 decoded examples are {each}: example 0, example 2" for each in warning)
    if warning:
        one = data_overview({"train": ArraySource([values, other], [0, 1])}, sample_rate=rate)
        assert one.warnings[0].startswith("1 of 2 decoded examples is ")


def test_float_images_that_are_not_scaled_are_warned_of_without_training():
    sources = {"train": images(9, dtype=np.float32)}
    assert data_overview(sources).warnings == ()
    (told,) = data_overview(sources, thorough=True).warnings
    assert told.startswith("float images have values of 0 to 25")


def test_recordings_have_seconds():
    source = ArraySource([np.sin(np.arange(n, dtype=np.float32))[:, None] for n in (4000, 8000, 16000)], [0, 1, 0])
    text = overview_text(data_overview({"train": source}, sample_rate=8000), "mine")
    assert "sizes   4000 to 16000, median 8000; 1 channel; 0.50 to 2.00 s, median 1.00 s," in text


def test_a_hundred_classes_of_any_names_fit_the_terminal():
    names = [f"class {n} " + "[red]x\x1b" * 9 for n in range(100)]
    labels = [n for n in range(100) for _ in range(1 + n % 7)]
    source = ArraySource([np.full((2, 2, 1), n % 251, np.uint8) for n in range(len(labels))], labels, names)
    text = overview_text(data_overview({"train": source, "test": source}), "a name\nof two lines" * 9)
    lines = text.splitlines()
    table = lines[lines.index("") + 1 :]
    table = table[: table.index("")]
    assert len(table) == 14  # headings, a rule, 12 rows
    assert [row.split()[-1] for row in table[2:5]] == ["7"] * 3
    assert table[8].startswith("… 89 more")
    assert [row.split()[-1] for row in table[-3:]] == ["1"] * 3
    assert table[2].startswith("class 6 [red]x")
    assert max(map(len, lines[1:])) <= WIDTH
    assert text.replace("\n", "").isprintable()


def test_moments_are_those_of_all_values_and_of_one_channel_a_number():
    source = images(30, channels=3)
    measured = measure_moments(Unlabeled(source, broken=[4]), 100)
    pixels = np.concatenate([source[n].values.reshape(-1, 3) for n in range(30) if n != 4]) / 255
    np.testing.assert_allclose(measured.mean, pixels.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(measured.std, pixels.std(axis=0), rtol=1e-3)
    assert measured.examples == 29
    assert measure_moments(ArraySource([np.ones((9, 9, 1))] * 3, [0, 1, 0]), 2)[:3] == (1.0, 1.0, 2)
    with pytest.raises(ValueError, match="none of 2 examples can be decoded"):
        measure_moments(Unlabeled(images(2), broken=[0, 1]), 5)
