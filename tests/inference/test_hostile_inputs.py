"""Hostile inputs: each is predicted or named, none ends the prediction of the others, and memory stays bounded."""

import csv
import io
import os
import resource
import sys
from functools import partial

import numpy as np
import pytest
from files_of_all_kinds import images_of_all_formats, mutated, recordings_of_all_formats, values_or_reason
from hostile_items import IMAGES, RATE, RECORDINGS, change, content, draw_items, pixels, refused_array, written

import fcnjax
from fcnjax.commands.main import main
from fcnjax.data import decode_audio, decode_image
from fcnjax.inference import Predictor, Result
from fcnjax.inference.inputs import Inputs
from fcnjax.naming import printable, spreadsheet_text

MEMORY = 1 << 30  # bytes that a process may grow by
SEEDS = (0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 10)))


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def check_results(predictor: Predictor, drawn, found: list[Result]) -> None:
    """Asserts that each item has one result, such as it must be, and predictions as if it was alone."""
    assert sorted(result.position for result in found) == list(range(len(drawn)))
    for result in found:
        item, predicted = drawn[result.position]
        if predicted is not None:
            assert (result.prediction is not None) == predicted, (item, result.reason)
        assert bool(result.reason) == (result.prediction is None)
        assert "\n" not in printable(result.reason)
        assert len(result.reason) < 500, result.reason
    some = [result for result in found if result.prediction is not None]
    assert len(some) > 5
    for result in some:
        alone, reasons = predictor.predict([drawn[result.position][0]])
        assert not reasons
        assert result.prediction is not None
        assert alone[0] is not None
        np.testing.assert_allclose(result.prediction.logits, alone[0].logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_images_are_predicted_or_named_and_the_others_are_as_alone(photos, tmp_path, seed):
    predictor, before = fcnjax.load(photos.path, max_buckets=2), peak_bytes()
    drawn = draw_items(IMAGES, 160, tmp_path, seed)
    found = list(predictor.results([item for item, _ in drawn], class_maps=True))
    check_results(predictor, drawn, found)
    for result in found:
        if result.maps is not None:
            assert result.maps.overlay().mode == "RGB"
    assert peak_bytes() - before < MEMORY


@pytest.mark.parametrize("rounds", [2, pytest.param(40, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["photos", "recordings"])
def test_mutated_files_of_every_format_are_listed_or_read_as_in_training(rounds, kind, tmp_path, request):
    model, draw = fcnjax.load(request.getfixturevalue(kind).path).model, np.random.default_rng(25)
    whole = images_of_all_formats if kind == "photos" else recordings_of_all_formats
    contents = [mutated(draw, content) for _ in range(rounds) for content in whole(draw).values()]
    files = [written(tmp_path / str(index), content) for index, content in enumerate(contents)]
    decode = partial(decode_image, channels=3) if kind == "photos" else partial(decode_audio, sample_rate=RATE)
    inputs, expected = Inputs(files, model), {str(file): values_or_reason(partial(decode, file)) for file in files}
    assert inputs.item_names == tuple(expected)
    assert {*inputs.names, *inputs.unreadable} == set(expected)
    assert all(expected[name] == reason for name, reason in inputs.unreadable.items())
    for index, name in enumerate(inputs.names):
        found = values_or_reason(lambda index=index: inputs[index].values)
        if not (isinstance(found, str) and "must be 0 to 1 as in training" in found):  # of floats of a TIFF file
            np.testing.assert_array_equal(found, expected[name], err_msg=name)


@pytest.mark.parametrize("seed", SEEDS)
def test_recordings_are_predicted_or_named_and_the_others_are_as_alone(recordings, tmp_path, seed):
    predictor, before = fcnjax.load(recordings.path, max_buckets=2, max_area=20_000), peak_bytes()
    drawn = [*draw_items(RECORDINGS, 40, tmp_path, seed), *((file, True) for file in recordings.files[:6])]
    check_results(predictor, drawn, list(predictor.results([item for item, _ in drawn])))
    assert peak_bytes() - before < MEMORY


def test_arrays_that_are_refused_are_named_by_their_position(photos, tmp_path):
    predictor, draw, good = fcnjax.load(photos.path), np.random.default_rng(22), np.zeros((20, 14, 3), np.uint8)
    for _ in range(60):
        item, _ = refused_array(draw, tmp_path)
        with pytest.raises((ValueError, TypeError), match=r"^item 1: "):
            predictor.predict([good, item])


def test_files_that_change_after_their_header_was_read_are_named(photos, tmp_path):
    predictor, draw = fcnjax.load(photos.path), np.random.default_rng(23)
    files = [tmp_path / f"{number}.png" for number in range(24)]
    for file in files:
        file.write_bytes(content(pixels(draw, size=(20, 14)), "PNG"))
    kept = predictor(files[::2])
    results = predictor.results(files)  # the headers are read
    for how, file in enumerate(files[1::2]):
        change(draw, file, how)
    found = sorted(results, key=lambda result: result.position)
    for result, expected in zip(found[::2], kept, strict=True):
        assert result.prediction is not None
        np.testing.assert_allclose(result.prediction.logits, expected.logits, rtol=1e-4, atol=1e-5)
    for result, how in zip(found[1::2], range(12), strict=True):
        reason = (
            "damaged PNG: image file is truncated",
            "has changed from 20x14 to 31x37 while it was predicted; predict it again",
            "is not a file any more",
            "is not a file any more",
            "not an image",
            "No such file or directory",
        )[how % 6]
        assert result.prediction is None
        assert result.reason.startswith(reason)


def test_the_table_of_the_command_has_a_row_for_each_file(photos, tmp_path, capsys):
    drawn = draw_items(IMAGES, len(IMAGES), tmp_path / "files")
    paths = [(str(item), predicted) for item, predicted in drawn if isinstance(item, str | os.PathLike) and str(item)]
    paths = [(path, predicted) for path, predicted in paths if not os.path.isdir(path)]  # an empty one is refused
    files = [path for path, _ in paths]
    table, maps = tmp_path / "a.csv", tmp_path / "maps"
    code = main(["fcnjax", "predict", f"--model={photos.path}", f"--to={table}", f"--class_maps={maps}", "--", *files])
    _, error = capsys.readouterr()
    assert code == 0, error
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["file"] for row in rows] == [spreadsheet_text(printable(file)) for file in files]
    for row, (file, predicted) in zip(rows, paths, strict=True):
        assert bool(row["class"]) != bool(row["error"])
        assert predicted in (None, bool(row["class"])), file
        assert bool(row["class_map"]) == bool(row["class"])
    pictures = {spreadsheet_text(path.name) for path in maps.iterdir()}
    assert pictures == {row["class_map"] for row in rows} - {""}
    assert all(line.isprintable() for line in error.splitlines())


def test_names_on_the_command_line_that_are_no_flags(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw, names = np.random.default_rng(24), ["-dash.png", "--to=x.png", "=1+1.png", "new\nline.png"]
    for name in names:
        (tmp_path / name).write_bytes(content(pixels(draw), "PNG"))
    assert main(["fcnjax", "predict", f"--model={photos.path}", "--to=a.jsonl", "--", *names]) == 0
    assert "4 of 4 files predicted" in capsys.readouterr().out
