"""Labels, splits, groups and weights of files, by tables, lists and patterns."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcnjax.data import FolderSource, LabelSettings, UnreadableFiles
from fcnjax.data.files.folder_layout import read_layout
from fcnjax.data.files.split_files import select


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 5)).save(root / name)
    return root


def labels_of(root, **settings):
    layout = read_layout(root, (), LabelSettings(**settings))
    return {name: layout.class_names[label] for name, label in zip(layout.names, layout.labels, strict=True)}


@pytest.mark.parametrize(
    ("table", "text", "settings"),
    [
        ("labels.csv", "file,label\nimages/a.png,cat\nimages/b.png,dog\n", {}),
        ("labels.csv", "file,label\na.png,cat\nb.png,dog\n", {}),  # by their names alone
        ("labels.csv", "id;breed\na;cat\nb;dog\n", {}),  # and without endings
        ("labels.csv", "id,x,y\na,1,cat\nb,2,dog\n", {"path": "images/{id}.png", "label": "y"}),
        ("images/labels.csv", "x,file,Class Name\n1,a.png,cat\n2,./b.png,dog\n", {}),  # relative to the table
        ("labels.csv", "file,label\nimages\\a.png,cat\nROOT/images/b.png,dog\n", {}),
        ("*/labels.csv", "file,label\na.png,cat\nb.png,dog\n", {}),
        ("labels.csv", "images/a.png,cat\nimages/b.png,dog\n", {"columns": ("where", "label")}),
        ("labels.csv", "file,label\n/content/set/images/a.png,cat\n/content/set/images/b.png,dog\n", {}),
        ("labels.csv", "File Path;class\nD:\\x\\images\\A.PNG;cat\nD:\\x\\images\\B.PNG;dog\n", {}),
    ],
)
def test_a_row_finds_its_file(tmp_path, table, text, settings):
    make(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / table.replace("*", "images")).write_text(text.replace("ROOT", str(tmp_path)))
    assert labels_of(tmp_path, table=table, **settings) == {"images/a.png": "cat", "images/b.png": "dog"}


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("file,label\nnone.png,cat\n", {}, "labels.path: must be given, as no column .* such as 'images/{file}.png'"),
        ("file,x,y\nimages/a.png,1,2\n", {}, "labels.label: must be given, .* its columns are 'file', 'x', 'y'"),
        ("file,label\nimages/a.png,cat\nimages/a.png,dog\n", {}, "images/a.png is there twice, as 'cat' and as 'dog'"),
        ("file,label\nimages/a.png,cat\n,dog\n", {}, "row 2 names no file"),
        ("file,label\nc.png,cat\n", {}, "c.png may be deep/c.png or images/c.png; give labels.path as a template"),
        ("file,label,w\nimages/a.png,cat,-1\n", {"weight": "w"}, "labels.weight: must be numbers above 0.*'-1'"),
        ("file,label,w\nimages/a.png,cat,\n", {"weight": "w"}, "labels.weight: must be numbers above 0.*holds ''"),
        ("file,label\nimages/a.png,\n", {}, "labels.table=labels.csv: must give labels, and gives none"),
        ("images/a.png,cat\nimages/c.png,dog\n", {}, "labels.columns: must be given, .* 'images/a.png' is a file"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, settings, message):
    make(tmp_path, "images/a.png", "images/c.png", "deep/c.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        labels_of(tmp_path, table="labels.csv", **settings)
    assert "\n" not in str(caught.value)


def test_what_a_table_lacks_is_counted_and_a_row_without_its_file_is_unreadable(tmp_path):
    make(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,x\nb.png,y\ngone.png,y\nc.png,\n")
    settings = LabelSettings(table="labels.csv")
    with pytest.raises(UnreadableFiles, match=r"gone.png: there is no such file"):
        FolderSource.images(tmp_path, "all", labels=settings)
    source = FolderSource.images(tmp_path, "all", labels=settings, on_error="mask")
    assert source.names == ("a.png", "b.png")
    assert list(source.unreadable) == ["gone.png"]
    assert [(each.count, each.example) for each in source.ignored] == [(1, "c.png"), (1, "d.png")]
    assert "without a label" in source.ignored[0].reason
    assert "not in the table" in source.ignored[1].reason


def test_columns_give_splits_groups_and_weights(tmp_path):
    make(tmp_path, *(f"{index}.png" for index in range(8)))
    rows = [
        f"{index}.png,{'ab'[index % 2]},{f'train,p{index // 2}' if index < 6 else 'test,'},{index + 0.5}"
        for index in range(8)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["file,label,subset,Patient ID,w", *rows]))
    settings = LabelSettings(table="t.csv", weight="w")
    source = FolderSource.images(tmp_path, "train", labels=settings)
    assert source.names == tuple(f"{index}.png" for index in range(6))
    assert list(source.groups) == ["p0", "p0", "p1", "p1", "p2", "p2"]
    np.testing.assert_array_equal(source.weights, np.arange(6, dtype=np.float32) + 0.5)
    first = FolderSource.images(tmp_path, "train[:30%]", labels=settings)
    rest = FolderSource.images(tmp_path, "train - train[:30%]", labels=settings)
    assert len(first) == 2
    assert not set(first.groups) & set(rest.groups)
    assert len(first) + len(rest) == 6
    assert not any("whole" in note for note in source.notes)  # nothing is sliced
    assert first.notes[-1] == "slices keep each of 3 groups whole"  # files of test are alone
    with pytest.raises(ValueError, match="unknown split of .*'tets': did you mean 'test'"):
        FolderSource.images(tmp_path, "tets", labels=settings)


def test_folds_of_a_column_are_splits(tmp_path):
    make(tmp_path, *(f"{index}.png" for index in range(12)))
    rows = [f"{index}.png,{'ab'[index % 2]},{index % 3 + 1}" for index in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["file,label,fold", *rows]))
    settings = LabelSettings(table="t.csv", split="fold")
    layout = read_layout(tmp_path, (), settings)
    assert select(tmp_path, layout, "all - 3") == select(tmp_path, layout, "1+2")
    assert select(tmp_path, layout, "all - 1 - 2") == select(tmp_path, layout, "3")
    assert len(select(tmp_path, layout, "3[:50%]")) == 2


def test_a_pattern_gives_labels_and_groups_and_says_what_it_does_not_match(tmp_path):
    make(tmp_path, "american_bulldog_1.png", "american_bulldog_2.png", "beagle_1.png", "cover.png")
    layout = read_layout(tmp_path, (), LabelSettings(pattern=r"(?P<group>(?P<label>.+))_\d+"))
    assert layout.class_names == ("american_bulldog", "beagle")
    assert layout.groups == ("american_bulldog", "american_bulldog", "beagle")
    assert [(each.count, each.example) for each in layout.ignored] == [(1, "cover.png")]
    assert "pattern" in layout.ignored[0].reason


def test_lists_divide_files_with_folders_as_classes(tmp_path):
    make(tmp_path, "yes/1.png", "yes/2.png", "no/1.png", "no/2.png", "_background_/x.png")
    (tmp_path / "test.txt").write_text("yes/2.png\nno/2.png 1 0\n")
    settings = LabelSettings(lists="test=test.txt")
    assert FolderSource.images(tmp_path, "test", labels=settings).names == ("no/2.png", "yes/2.png")
    train = FolderSource.images(tmp_path, "train", labels=settings)
    assert train.names == ("no/1.png", "yes/1.png")
    assert train.class_names == ("no", "yes")
    assert any(each.example == "_background_/x.png" and "begin and end with _" in each.reason for each in train.ignored)
    (tmp_path / "train.txt").write_text("yes/2.png\n")
    with pytest.raises(ValueError, match="yes/2.png is in the lists of test and train"):
        FolderSource.images(tmp_path, "all", labels=LabelSettings(lists="test=test.txt,train=train.txt"))
    with pytest.raises(FileNotFoundError, match="there is no file .*none.txt"):
        FolderSource.images(tmp_path, "all", labels=LabelSettings(lists="test=none.txt"))
    with pytest.raises(ValueError, match="must name a file for each split"):
        FolderSource.images(tmp_path, "all", labels=LabelSettings(lists="test.txt"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "("}, "must be a regular expression"),
        ({"pattern": "(.+)_1"}, "must have a group of the name label"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LabelSettings(**settings)


def test_a_column_without_a_table_is_refused(tmp_path):
    make(tmp_path, "cat/1.png", "dog/2.png")
    with pytest.raises(ValueError, match="labels.label='x': names a column, so it needs a table"):
        labels_of(tmp_path, label="x")


def test_a_row_with_a_folder_never_labels_a_file_of_another(tmp_path):
    make(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    (tmp_path / "t.csv").write_text("file,label\na/1.png,cat\na/2.png,dog\nc/1.png,bird\n")
    source = FolderSource.images(tmp_path, "all", labels=LabelSettings(table="t.csv"), on_error="mask")
    assert source.names == ("a/1.png", "a/2.png")
    assert source.unreadable == {"c/1.png": "there is no such file"}


def test_labels_in_other_bytes_are_refused_and_names_of_files_are_not(tmp_path):
    names = [b"caf\xe9.png", b"b.png"]
    for name in names:
        Image.new("L", (4, 5)).save(os.fsdecode(bytes(tmp_path) + b"/" + name))
    (tmp_path / "t.csv").write_bytes(b"file,label\n" + b"".join(name + b",x" + name[:1] + b"\n" for name in names))
    assert set(labels_of(tmp_path, table="t.csv").values()) == {"xc", "xb"}
    (tmp_path / "t.csv").write_bytes(b"file,label\nb.png,K\xe4fer\n")
    with pytest.raises(ValueError, match=r"row 1 has the label .*, which is not UTF-8; save the table as UTF-8"):
        labels_of(tmp_path, table="t.csv")


def test_a_table_may_be_given_by_its_whole_path_and_from_outside(tmp_path, monkeypatch):
    make(tmp_path / "data", "a.png", "b.png")
    (tmp_path / "t.csv").write_text(f"file,label\n{tmp_path}/data/a.png,cat\n{tmp_path}/data/b.png,dog\n")
    monkeypatch.chdir(tmp_path)
    labels = labels_of(Path("data"), table=str(tmp_path / "t.csv"))
    assert labels == {"a.png": "cat", "b.png": "dog"} == labels_of(tmp_path / "data", table="../t.csv")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["0.png,cat,7", "1.png,dog,8"], "columns that are not used: 'age'"),
        (["0.png,cat,7", "1.png,nan,8"], "'nan' counts as a class; leave the label empty"),
        (["0.png,cat,7", "1.png,cat|dog,8", "2.png,dog|cat,8"], "each combination of labels counts as a class"),
        ([f"{index}.png,{index / 7},1" for index in range(30)], "30 of 30 labels differ, and all are numbers"),
    ],
)
def test_what_labels_may_hide_is_said(tmp_path, rows, says):
    make(tmp_path, *(f"{index}.png" for index in range(len(rows))))
    (tmp_path / "t.csv").write_text("\n".join(["file,label,age", *rows]))
    layout = read_layout(tmp_path, (), LabelSettings(table="t.csv"))
    assert any(says in note for note in layout.notes)


def test_a_column_of_groups_can_be_left_alone(tmp_path):
    make(tmp_path, *(f"{index}.png" for index in range(6)))
    rows = [f"{index}.png,{'ab'[index % 2]},{'xy'[index % 2]}" for index in range(6)]
    (tmp_path / "t.csv").write_text("\n".join(["file,label,speaker", *rows]))
    with pytest.raises(ValueError, match="groups stay whole, and the largest has 3 of 6 .* labels.group=none ignores"):
        FolderSource.images(tmp_path, "all[90%:]", labels=LabelSettings(table="t.csv"))
    assert len(FolderSource.images(tmp_path, "all[80%:]", labels=LabelSettings(table="t.csv", group="none"))) == 1


@pytest.mark.parametrize("column", ["file", "picture"])
def test_row_numbers_never_take_the_place_of_names(tmp_path, column):
    make(tmp_path, *(f"images/{index}.png" for index in range(4)))
    rows = [f"{row},{3 - row}.png,{'ab'[row % 2]}," for row in range(4)]
    (tmp_path / "t.csv").write_text("\n".join([f",{column},label,", *rows]))
    labels = labels_of(tmp_path, table="t.csv")
    assert labels == {f"images/{3 - row}.png": "ab"[row % 2] for row in range(4)}
