"""Classes, ids and slices of a root: drawn by hypothesis, and written out."""

import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnjax.data.files.folder_layout import Layout, read_layout
from fcnjax.data.files.label_settings import LabelSettings
from fcnjax.data.files.split_files import joined_folders, select, split_names


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def classes_of(layout: Layout) -> dict[str, str]:
    return {name: layout.class_names[label] for name, label in zip(layout.names, layout.labels, strict=True)}


def chosen(root: Path, split: str) -> list[str]:
    layout = read_layout(root, split_names(root, split))
    return [layout.names[index] for index in select(root, layout, split)]


@st.composite
def layouts(draw) -> Layout:
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    names = [f"c{label}/{index}.png" for label, count in enumerate(counts) for index in range(count)]
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return Layout(tuple(names), tuple(labels), tuple(f"c{label}" for label in range(len(counts))))


@given(layout=layouts(), percents=st.lists(st.integers(0, 100), min_size=1, max_size=4))
def test_slices_partition_the_whole_and_keep_the_class_shares(layout, percents):
    root, total = Path("/absent"), len(layout.names)
    bounds = [0, *sorted(percents), 100]
    parts = []
    for low, high in pairwise(bounds):
        size = round(total * high / 100) - round(total * low / 100)
        if size == 0:
            with pytest.raises(ValueError, match="holds no file"):
                select(root, layout, f"all[{low}%:{high}%]")
            continue
        part = select(root, layout, f"all[{low}%:{high}%]")
        assert len(part) == size
        shares = Counter(layout.labels)
        for label, count in Counter(layout.labels[index] for index in part).items():
            # Cut by position, a class is off by less than 1; the other classes' roundings move the cut.
            assert abs(count - shares[label] * size / total) <= 2 + len(shares) * shares[label] / total
        parts += part
    assert sorted(parts) == list(range(total))


def test_equal_classes_are_cut_equally(tmp_path):
    root = make(tmp_path, *(f"{label}/{index}.png" for label in "abcdefgh" for index in range(100)))
    for split, share in (("all[:80%]", 80), ("all[80%:]", 20), ("all[:-10%]", 90), ("all[400:]", 50)):
        counts = Counter(name[0] for name in chosen(root, split))
        assert set(counts) == set("abcdefgh")
        assert all(abs(count - share) <= 1 for count in counts.values())


def test_one_file_per_class_is_spread_over_the_order_and_not_held_back(tmp_path):
    root = make(tmp_path, *(f"big/{i}.png" for i in range(100)), *(f"c{i:03}/0.png" for i in range(100)))
    big = sum(name.startswith("big") for name in chosen(root, "all[:24%]"))
    assert 12 <= big <= 36  # 24 in expectation; if sorted by rank alone, all 48 would be of the big class


@pytest.mark.parametrize(
    ("split", "count"), [("all[3:8]", 5), ("all[:10]", 10), ("all[-4:]", 4), ("all[:]", 30), ("all[:1%]", 0)]
)
def test_a_slice_counts_files(tmp_path, split, count):
    root = make(tmp_path, *(f"{label}/{index}.png" for label in "ab" for index in range(15)))
    if count:
        assert len(set(chosen(root, split))) == count
    else:
        with pytest.raises(ValueError, match="holds no file"):
            chosen(root, split)


def test_the_order_of_a_slice_is_frozen(tmp_path):
    """Runs of today and of next year train on the same files: change these names only with a new major version."""
    root = make(tmp_path, *(f"{label}/{index}.png" for label in "ab" for index in range(10)))
    assert chosen(root, "all[:25%]") == ["a/0.png", "a/3.png", "a/8.png", "b/2.png", "b/6.png"]


@pytest.mark.parametrize(
    ("names", "split", "classes"),
    [
        (["cat/1.png", "dog/deep/down/2.png"], "all", {"cat/1.png": "cat", "dog/deep/down/2.png": "dog"}),
        (["train/cat/1.png", "test/dog/2.png"], "train", {"train/cat/1.png": "cat", "test/dog/2.png": "dog"}),
        (["train/cat/1.png", "test/dog/2.png"], "all", {"train/cat/1.png": "cat", "test/dog/2.png": "dog"}),
        (["one/cat/1.png", "two/dog/2.png"], "two", {"one/cat/1.png": "cat", "two/dog/2.png": "dog"}),
        (["9_a_1.wav", "10_b.wav"], "*_1.wav", {"9_a_1.wav": "9", "10_b.wav": "10"}),
        (["train/9_a.wav", "test/1_b.wav"], "test", {"train/9_a.wav": "9", "test/1_b.wav": "1"}),
        (["cat/1.PNG", "dog/.hidden.png", "dog/2", "README.md", "LICENCE", "cat/Thumbs.db", ".git/x/1.png",
          "dog/labels.CSV"],
         "all", {"cat/1.PNG": "cat", "dog/2": "dog"}),
    ],
)  # fmt: skip
def test_the_class_follows_from_the_path(tmp_path, names, split, classes):
    layout = read_layout(make(tmp_path, *names), split_names(tmp_path, split))
    assert classes_of(layout) == classes
    assert layout.class_names == tuple(sorted(set(classes.values())))
    assert layout.names == tuple(sorted(layout.names))


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["train/a/1_0.png", "train/a/2_5.png", "train/b/x/1_7.png"]),
        ("*/*/*_[0-4].png", ["test/a/3_4.png", "train/a/1_0.png"]),
        ("**/*_[!0-4].png", ["test/b/4_5.png", "train/a/2_5.png", "train/b/x/1_7.png"]),
        ("train/**", ["train/a/1_0.png", "train/a/2_5.png", "train/b/x/1_7.png"]),
        ("*/*/?_5.png + test/a/*", ["test/a/3_4.png", "test/b/4_5.png", "train/a/2_5.png"]),
        ("test/a/*+test[:]", ["test/a/3_4.png", "test/b/4_5.png"]),
    ],
)  # fmt: skip
def test_a_split_is_a_folder_a_pattern_or_several(tmp_path, split, expected):
    root = make(tmp_path, "train/a/1_0.png", "train/a/2_5.png", "train/b/x/1_7.png", "test/a/3_4.png", "test/b/4_5.png")
    assert chosen(root, split) == expected


def test_linked_folders_are_followed_but_never_in_a_circle(tmp_path):
    make(tmp_path, "elsewhere/1.png", "root/dog/2.png")
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "dog" / "again").symlink_to(tmp_path / "root")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root" / "cat")
    assert chosen(tmp_path / "root", "all") == ["cat/1.png", "dog/2.png"]


@pytest.mark.parametrize(
    ("names", "split", "says"),
    [
        ([], "all", "holds no media file"),
        (["README.md", "notes/1.txt"], "all", "holds no media file"),
        (["train/a/1.png"], "tarin", r"did you mean 'train'\? Known: all, train"),
        (["a/1.png"], "", r"only classes; slice them all, as in 'all\[:80%\]'"),
        (["a/1.png"], "*.wav", r"split='\*.wav' .* holds no file"),
        (["train/a/1.png", "test/.hidden"], "test", "split='test' .* its folder holds no file"),
        (["train/a/1.png"], "train[:120%]", "must have percentages of -100% to 100%; correct 120%"),
        (["cat/1.png", "dog/2.txt"], "all", "class folder dog holds no file"),
        (["train/cat/1.png", "train/dog/2.txt"], "train", "class folder train/dog holds no file"),
        (["cat/1.png", "2.png"], "all", r"2\.png lies outside every class folder"),
        (["train/cat/1.png", "cat_2.png"], "train", r"cat_2\.png lies outside every class folder"),
        (["train/cat_1.png", "dog_2.png"], "train", r"dog_2\.png lies outside every folder of a split"),
        (["cat1.png", "dog2.png"], "all", r"cat1\.png has no class"),
        (["cat/image_1.png", "dog/image_2.png"], "cat", "all file names begin with 'image_'"),
    ],
)
def test_a_bad_folder_is_refused_in_one_sentence(tmp_path, names, split, says):
    root = make(tmp_path, *names)
    with pytest.raises(ValueError, match=says) as caught:
        chosen(root, split)
    assert str(root) in str(caught.value) or "%" in split
    assert "\n" not in str(caught.value)


def test_pipes_are_left_out_and_broken_links_are_kept(tmp_path):
    root = make(tmp_path, "cat/1.png")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "lost.png").symlink_to(tmp_path / "absent")
    assert chosen(root, "all") == ["cat/1.png", "cat/lost.png"]


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(ValueError, match="absent: no such folder"):
        read_layout(tmp_path / "absent")


@pytest.mark.parametrize(
    ("names", "split", "classes", "says"),
    [
        (["d/cat/1.png", "d/dog/2.png"], "all", "cat dog", "d/ is the only folder of the root"),
        (["a/b/train/cat/1.png", "a/b/test/cat/2.png", "a/b/train/dog/2.png"], "train", "cat dog", "a/b/ is the only"),
        (["README.md", "recordings/yes_1.wav", "recordings/yes_2.wav", "recordings/no_1.wav", "recordings/no_2.wav"],
         "all", "no yes", "recordings/ is the only folder"),
        (["train/cat/1.png", "test/cat/2.png", "train/dog/3.png"], "all[:50%]", "cat dog", None),
        (["train/cat/1.png", "test/cat/2.png", "unlabeled/3.png", "unlabeled/4.png"], "train", "cat",
         "outside of the folders of splits test/, train/: in unlabeled/: 2, unlabeled/3.png"),
        (["train/cat/1.png", "test/cat/2.png", "extra/deep/3.png"], "all", "cat", "in extra/: 1, extra/deep/3.png"),
        (["fold1/cat/1.png", "fold2/cat/2.png", "fold2/dog/2.png"], "fold2", "cat dog", None),
        (["fold1/cat/1.png", "fold2/cat/2.png", "fold2/dog/2.png"], "all", "cat dog", None),
        (["cat/1.png", "dog/2.png", "_background_noise_/3.wav"], "all", "cat dog",
         "in folders whose names begin and end with _, which are no classes: 1, _background_noise_/3.wav"),
        (["american_bulldog_1.png", "american_terrier_2.png", "beagle_1.png"], "all", "american beagle",
         r"'american' holds american_bulldog_\* and american_terrier_\*"),
        (["0_jackson_1.wav", "0_george_1.wav", "1_jackson_1.wav", "1_george_2.wav"], "all", "0 1", None),
        (["cat/1.png", "dog/2.png", "labels.csv", "dog/more.tsv"], "all", "cat dog", "tables; .*: 2, dog/more.tsv"),
        (["train/cat/1.png", "val/images/cat/2.png", "train/dog/3.png"], "train", "cat dog images",
         "val/images/ counts as a class, and holds cat/, which are classes elsewhere"),
        (["train/1.png", "car/2.png", "plane/3.png"], "all", "car plane train", None),  # a class called train
    ],
)  # fmt: skip
def test_what_people_have_by_accident_is_understood_and_said(tmp_path, names, split, classes, says):
    layout = read_layout(make(tmp_path, *names), split_names(tmp_path, split))
    assert " ".join(layout.class_names) == classes
    said = [*layout.notes, *(f"{each.reason}: {each.count}, {each.example}" for each in layout.ignored)]
    assert any(re.search(says, each) for each in said) if says else not said
    assert select(tmp_path, layout, split)


@pytest.mark.parametrize(
    ("names", "folders", "classes", "says"),
    [
        (["training_set/training_set/cat/1.png", "training_set/training_set/dog/1.png", "test_set/test_set/cat/2.png"],
         "test_set training_set", "cat dog", "the classes are the folders in test_set/test_set/, training_set/"),
        (["seg_train/seg_train/sea/1.png", "seg_test/seg_test/sea/2.png", "seg_test/seg_test/ice/2.png",
          "seg_pred/seg_pred/3.png"], "seg_test seg_train", "ice sea", "in seg_pred/"),
        (["train/images/cat/1.png", "train/images/dog/1.png", "test/images/cat/2.png"], "test train", "cat dog",
         "the classes are the folders in test/images/, train/images/"),
        (["train/cat/1.png", "train/dog/1.png", "holdout/cat/2.png", "holdout/dog/2.png"], "train", "cat dog",
         "in holdout/"),
        (["fold1/cat/1.png", "fold2/cat/2.png", "fold2/dog/2.png", "extra/cat/3.png"], "fold1 fold2", "cat dog",
         "in extra/"),
        (["cat/train/1.png", "dog/train/1.png", "cat/test/2.png", "dog/test/2.png"], "", "cat dog",
         r"if these are splits, give config.data.labels.pattern='\(\?P<label>\[\^/\]\+\)/\(\?P<split>"),
        (["north/cat/1.png", "north/dog/1.png", "south/cat/2.png", "south/dog/2.png"], "", "north south",
         "if these are the classes"),
        (["images/1.png", "annotations/2.png"], "", "annotations images", "annotations/, images/ count as"),
        (["train_station/1.png", "test_tube/2.png"], "", "test_tube train_station", None),
    ],
)  # fmt: skip
def test_splits_are_no_classes(tmp_path, names, folders, classes, says):
    layout = read_layout(make(tmp_path, *names))
    assert (" ".join(layout.folders), " ".join(layout.class_names)) == (folders, classes)
    said = [*layout.notes, *(each.reason for each in layout.ignored)]
    assert any(re.search(says, each) for each in said) if says else not said


def test_the_advice_for_names_that_may_merge_classes_gives_the_classes(tmp_path):
    breeds = ("american_bulldog", "american_terrier", "beagle")
    root = make(
        tmp_path, *(f"{split}/{breed}_{n}.png" for split in ("train", "test") for breed in breeds for n in (1, 2))
    )
    (note,) = read_layout(root).notes
    pattern = re.search(r"pattern='(.*)'", note)[1]
    assert read_layout(root, (), LabelSettings(pattern=pattern)).class_names == breeds


def test_folders_of_runs_are_no_classes(tmp_path):
    root = make(
        tmp_path, "cat/1.png", "dog/1.png", "run/environment.json", "run/metrics.jsonl", "run/model/x.safetensors"
    )
    layout = read_layout(root)
    assert layout.class_names == ("cat", "dog")
    assert [(each.reason, each.example) for each in layout.ignored] == [("in folders of runs", "run")]


def test_parts_of_a_data_set_do_not_become_classes(tmp_path):
    root = make(tmp_path, "audio/fold1/1.wav", "audio/fold2/2.wav", "metadata/labels.csv")
    with pytest.raises(
        ValueError, match="fold1/, fold2/ are parts of a data set and no classes; give config.data.labels"
    ):
        chosen(root, "all")


def test_folders_of_splits_are_the_same_for_all_splits_that_are_asked_for(tmp_path):
    root = make(tmp_path, "train/cat/1.png", "test/cat/2.png", "more/dog/3.png")
    assert read_layout(root, ("train",)).class_names == ("cat",)
    assert read_layout(root, ("train", "more")).class_names == ("cat", "dog")


def test_all_that_joins_train_and_test_is_said(tmp_path):
    root = make(tmp_path, "train/cat/1.png", "test/cat/2.png")
    layout = read_layout(root)
    said = joined_folders(root, layout, "all[:80%]")
    assert said is not None
    assert said.startswith("'all' joins the folders test/, train/")
    assert joined_folders(root, layout, "all[80%:]") == said  # so that an overview says it once
    assert joined_folders(root, layout, "train[:80%]") is None
