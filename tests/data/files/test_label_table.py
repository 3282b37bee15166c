"""Tables of labels: every form that people have, as texts, and templates of columns."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from fcnjax.data.files.label_table import read_table

ROWS = [{"file": "a b.png", "label": "007"}, {"file": "c.png", "label": "cat, big"}]


def write_json_lines(path):
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")


def write_parquet(path):
    parquet.write_table(pa.table({name: [row[name] for row in ROWS] for name in ("file", "label")}), path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b'file,label\na b.png,007\nc.png,"cat, big"\n'),
        ("t.csv", b'\xef\xbb\xbffile;label\r\na b.png;007\r\n\r\nc.png;cat, big\r\n'),
        ("t.csv", 'file\tlabel\na b.png\t007\nc.png\tcat, big\n'.encode("utf-16")),
        ("t.tsv", b"file\tlabel\na b.png\t007\nc.png\tcat, big\n"),
        ("t.txt", b"file|label\na b.png | 007\nc.png|cat, big\n"),
        ("t.csv", b'file, label\n"a b.png", 007\nc.png, "cat, big"\n'),
        ("t.json", json.dumps(ROWS).encode()),
        ("t.jsonl", write_json_lines),
        ("t.parquet", write_parquet),
    ],
)  # fmt: skip
def test_every_form_gives_the_same_texts(tmp_path, name, content):
    path = tmp_path / name
    content(path) if callable(content) else path.write_bytes(content)
    table = read_table(path)
    assert table.columns == ("file", "label")
    assert [dict(row) for row in table.rows] == ROWS


def test_a_blank_divides_lines_without_other_delimiters(tmp_path):
    (tmp_path / "list.txt").write_text("Abyssinian_1 1 1\nbeagle_2 2 1\n")
    table = read_table(tmp_path / "list.txt", ("file", "class", "kind"))
    assert table.values("class", "labels.label") == ["1", "2"]


def test_numbers_of_parquet_are_texts_and_missing_values_are_empty(tmp_path):
    columns = {"file": ["a", "b"], "label": [7.0, None], "share": [0.5, 1.25], "seen": [1, 2], "raw": [b"\xff", b"x"]}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    rows = [dict(row) for row in read_table(tmp_path / "t.parquet").rows]
    assert rows[0] == {"file": "a", "label": "7", "share": "0.5", "seen": "1", "raw": "\udcff"}
    assert rows[1]["label"] == ""


def test_templates_fill_columns(tmp_path):
    (tmp_path / "t.csv").write_text("Image Index,Roi.X1,id\nx,1,3\ny,2,12\n")
    table = read_table(tmp_path / "t.csv")
    assert table.values("all/{Image Index}-{Roi.X1}.png", "labels.path") == ["all/x-1.png", "all/y-2.png"]
    assert table.values("{id:05}", "labels.label") == ["00003", "00012"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("lable", "unknown column of .*t.csv: 'lable': did you mean 'label'"),
        ("{lable}", "unknown column of .*t.csv: 'lable': did you mean 'label'"),
        ("{label:05}", "must format whole numbers, and row 2 of .* holds 'cat'; leave the ':05' out"),
    ],
)
def test_a_wrong_column_is_named(tmp_path, column, message):
    (tmp_path / "t.csv").write_text("file,label\na,1\nb,cat\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_table(tmp_path / "t.csv").values(column, "labels.label")
    assert str(caught.value).startswith("labels.label=")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "must have at least one row"),
        ("t.csv", b"file,label\n", "must have at least one row"),
        ("t.csv", b"file,file\na,b\n", "two columns have one name"),
        ("t.csv", b"file,label\na,b\nc,d,e\n", "line 3 has 3 values for 2 columns"),
        ("t.jsonl", b'{"file": "a"}\nnonsense\n', "cannot be read"),
        ("t.jsonl", b"[1, 2]", "must be an object"),
        ("t.parquet", b"PAR1 nonsense", "cannot be read"),
        ("t.xlsx", b"PK", "save the sheet as CSV"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.csv: no such file; give its path relative"):
        read_table(tmp_path / "absent.csv")
