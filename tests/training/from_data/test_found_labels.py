"""Where labels of a folder come from if nobody says: its folders, a table beside them, or lists."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcnjax.data import ArraySource
from fcnjax.training.from_data import choose_config, find_data

README = Path(__file__).parents[3] / "README.md"


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 7).save(root / name)
    return root


FLAT = tuple(f"images/{index}.png" for index in range(12))


def write_table(path, names, separator=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{name}{separator}{'cat' if index % 2 else 'dog'}" for index, name in enumerate(names)]
    path.write_text("\n".join([f"file{separator}label", *rows]))


def test_a_table_beside_files_in_one_folder_is_taken_and_said(tmp_path):
    write_table(make(tmp_path, *FLAT) / "labels.csv", [name.rpartition("/")[2] for name in FLAT])
    found = find_data(tmp_path)
    assert found.fields["labels"] == {"table": "labels.csv"}
    assert "names the files" in found.reasons["labels.table"]
    choice = choose_config(tmp_path)
    assert choice.config.data.labels.table == "labels.csv"
    assert choice.sources["train"].class_names == ("cat", "dog")


def test_class_folders_come_before_a_table(tmp_path):
    names = tuple(f"{'ab'[index % 2]}/{index}.png" for index in range(12))
    write_table(make(tmp_path, *names) / "labels.csv", names)
    found = find_data(tmp_path)
    assert "labels" not in found.fields


def test_tables_of_one_name_in_folders_of_splits_are_one(tmp_path):
    """As data sets for Hugging Face's image folders come."""
    for split, count in (("train", 10), ("test", 4)):
        names = [f"{index}.png" for index in range(count)]
        make(tmp_path, *(f"{split}/{name}" for name in names))
        write_table(tmp_path / split / "metadata.csv", names)
    choice = choose_config(tmp_path)
    assert choice.config.data.labels.table == "*/metadata.csv"
    assert (choice.config.data.train_split, choice.config.data.test_split) == ("train[:90%]", "test")
    assert [len(choice.sources[split]) for split in ("train", "validation", "test")] == [9, 1, 4]


def test_two_tables_that_name_the_files_are_a_question(tmp_path):
    make(tmp_path, *(f"{index}.png" for index in range(12)))
    for name in ("one.csv", "two.tsv"):
        write_table(tmp_path / name, [f"{index}.png" for index in range(12)], "," if name == "one.csv" else "\t")
    with pytest.raises(
        ValueError, match=r"Tables that name the files: 'one.csv', 'two.tsv'; give --config.data.labels"
    ):
        find_data(tmp_path)


def test_a_table_that_names_few_files_is_not_taken(tmp_path):
    make(tmp_path, *(f"{index}.png" for index in range(12)))
    write_table(tmp_path / "some.csv", ["1.png", "2.png"])
    with pytest.raises(ValueError, match="has no class"):
        find_data(tmp_path)


def test_folds_of_a_column_are_divided_into_training_validation_and_test(tmp_path):
    make(tmp_path, *FLAT)
    rows = [f"{name},{'ab'[index % 2]},{index // 2 + 1}" for index, name in enumerate(FLAT)]
    (tmp_path / "t.csv").write_text("\n".join(["file,label,fold", *rows]))
    found = find_data(tmp_path, {"labels": {"table": "t.csv", "split": "fold"}})
    splits = [found.fields[f"{name}_split"] for name in ("train", "validation", "test")]
    assert splits == ["all - 5 - 6", "5", "6"]


def test_sources_are_cut_with_groups_whole():
    values = [np.ones((9, 9, 1), np.float32)] * 40
    groups = [f"patient {index // 4}" for index in range(40)]
    source = ArraySource(values, [index // 4 % 2 for index in range(40)], groups=groups)
    parts = find_data(source).sources
    shared = [set(parts[one].groups) & set(parts[other].groups) for one in parts for other in parts if one < other]
    assert not any(shared)
    assert sum(map(len, parts.values())) == 40


def test_a_misspelled_setting_is_named(tmp_path):
    make(tmp_path, *FLAT)
    with pytest.raises(ValueError, match=r"'data.labels.tabel': did you mean 'data.labels.table'"):
        find_data(tmp_path, {"labels": {"tabel": "t.csv"}})


def test_a_column_may_be_named_of_a_table_that_is_found(tmp_path):
    make(tmp_path, *FLAT)
    rows = [f"{name},{'ab'[index % 2]},{'cd'[index % 2]}" for index, name in enumerate(FLAT)]
    (tmp_path / "t.csv").write_text("\n".join(["file,label,other", *rows]))
    choice = choose_config(tmp_path, fields={"labels": {"label": "other"}})
    assert choice.sources["train"].class_names == ("c", "d")
    assert choice.config.data.labels.table == "t.csv"


def test_a_wrong_column_of_the_only_table_is_the_error(tmp_path):
    make(tmp_path, *FLAT)
    write_table(tmp_path / "t.csv", FLAT)
    with pytest.raises(ValueError, match=r"^labels.label='lable': unknown column of .*t.csv: 'lable': did you mean"):
        find_data(tmp_path, {"labels": {"label": "lable"}})


def test_why_a_table_is_not_used_is_said(tmp_path):
    make(tmp_path, *FLAT)
    (tmp_path / "t.csv").write_text("\n".join(["file,x,y", *(f"{name},1,2" for name in FLAT)]))
    with pytest.raises(ValueError, match="t.csv: not used, as labels.label: must be given"):
        choose_config(tmp_path)
    choice = choose_config(tmp_path, fields={"absent_classes": "allow"})
    assert "t.csv: not used, as labels.label: must be given" in " ".join(choice.sources["train"].notes)


def test_five_folds_by_the_sentence_of_the_readme(tmp_path):
    names = tuple(f"{'ab'[index % 2]}/{index}.png" for index in range(20))
    make(tmp_path, *names)
    assert "`all[:20%]` and `all - all[:20%]` are the first of five folds" in README.read_text().replace("\n", " ")
    splits = {"train_split": "all - all[:20%]", "validation_split": "all[:20%]", "test_split": "all[:20%]"}
    sources = choose_config(tmp_path, fields=splits | {"leakage": "ignore"}).sources
    assert [len(sources[name]) for name in ("train", "test")] == [16, 4]
    assert not set(sources["train"].names) & set(sources["test"].names)


@pytest.mark.parametrize("groups", [1, 2])
def test_too_few_groups_to_cut_are_refused(groups):
    values = [np.ones((9, 9, 1), np.float32)] * 20
    source = ArraySource(values, [index % 2 for index in range(20)], groups=[index % groups for index in range(20)])
    with pytest.raises(ValueError, match="sources: the slice .* holds no example, as groups stay whole"):
        find_data(source)
