"""`fcnjax predict`: classes of files in a table, pictures of their class maps, and their embeddings."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from fcnjax.commands.command_line import UsageError, parse_with_arguments, required
from fcnjax.data import UnreadableExample
from fcnjax.data.decoding.unreadable import lines_by_reason
from fcnjax.inference import Prediction, Result, load
from fcnjax.inference.embedding_files import check_embeddings, write_embeddings
from fcnjax.inference.file_lists import expanded
from fcnjax.inference.map_folder import MapFolder, picture_names
from fcnjax.inference.prediction_table import check_table, write_table
from fcnjax.inference.predictor import MAX_AREA
from fcnjax.naming import printable


def run(argv: Sequence[str]) -> None:
    """Predict the classes of files and folders with a trained network, and write a table."""
    given, arguments = parse_with_arguments(argv, _define)
    model, to = required(given.model, "model", "runs/photos"), Path(required(given.to, "to", "predictions.csv"))
    if not arguments:
        raise UsageError("files are missing: name files, folders or patterns, or '-' for a list on standard input.")
    check_table(to, overwrite=given.overwrite)
    vectors = None if given.embeddings is None else Path(given.embeddings)
    if vectors is not None:
        check_embeddings(vectors, overwrite=given.overwrite)
    folder = None if given.class_maps is None else MapFolder(given.class_maps, overwrite=given.overwrite)
    limits = {"max_buckets": given.max_buckets, "batch_size": given.batch_size, "max_area": given.max_area}
    predictor = load(model, **limits)
    wanted = {"class_maps": folder is not None, "embeddings": vectors is not None}
    found = _Found(expanded(arguments, sys.stdin), folder)
    for result in predictor.results(found.files, **wanted, progress=True):
        found.add(result)
    pictures = None if folder is None else found.pictures
    write_table(to, found.files, found.predictions, found.reasons, top=given.top, pictures=pictures)
    found.print_problems(to)
    total, count = len(found.files), sum(each is not None for each in found.predictions)
    print(f"{count:,} of {total:,} files predicted, {predictor.programs} programs compiled\ntable {to}")
    if folder is not None:
        drawn = sum(map(bool, found.pictures))
        print(f"class maps {folder.folder}: {drawn:,} pictures, {predictor.maps_kind.value}")
    if not count:
        raise ValueError(f"none of the {total:,} files could be read; the column 'error' of {to} says why.")
    if vectors is not None:
        values = found.write_embeddings(vectors)
        print(
            f"embeddings {vectors}: {values.shape[0]:,} rows of {values.shape[1]:,} features, {total - count} left out"
        )


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("model", None, "Finished run, or model folder.", flag_values=values)
    flags.DEFINE_string("to", None, "New table: .csv, .jsonl or .parquet.", flag_values=values)
    flags.DEFINE_integer("top", 5, "Number of classes of each file, the most probable first.", 1, flag_values=values)
    maps = (
        "New folder for pictures: the class map of the predicted class; for recordings, scores over time and a table."
    )
    flags.DEFINE_string("class_maps", None, maps, flag_values=values)
    features = "New file for pooled features of each predicted file: .npz or .parquet, or .npy without names."
    flags.DEFINE_string("embeddings", None, features, flag_values=values)
    flags.DEFINE_integer("max_buckets", 8, "Rectangles, so programs to compile.", 1, flag_values=values)
    flags.DEFINE_integer("batch_size", 32, "Files of a batch.", 1, flag_values=values)
    largest = "Positions of the largest example; larger ones are listed, as they take much memory."
    flags.DEFINE_integer("max_area", MAX_AREA, largest, 1, flag_values=values)
    over = "Whether --to, --class_maps and --embeddings may name what exists."
    flags.DEFINE_bool("overwrite", False, over, flag_values=values)


class _Found:
    """What was found of files, in their order.

    Attributes:
        files: their paths.
        predictions: None for a file without one.
        reasons: why it has none, by path.
        pictures: names of the pictures of class maps, empty for none.
    """

    def __init__(self, files: list[str], folder: MapFolder | None):
        self.files, self._folder = files, folder
        self.predictions: list[Prediction | None] = [None] * len(files)
        self.reasons: dict[str, str] = {}
        self.pictures = [""] * len(files)
        self._undrawn: dict[str, str] = {}
        self._embeddings: dict[int, np.ndarray] = {}
        self._names = picture_names(files)

    def add(self, result: Result) -> None:
        """Adds what was found of one file, and draws its class maps."""
        position, file = result.position, self.files[result.position]
        self.predictions[position] = result.prediction
        if result.prediction is None:
            self.reasons[str(Path(file))] = result.reason
        if result.embedding is not None:
            self._embeddings[position] = result.embedding
        if self._folder is not None and result.maps is not None:
            try:
                self.pictures[position] = self._folder.write(self._names[position], result.maps)
            except UnreadableExample as error:  # it was there when it was predicted
                self._undrawn[file] = f"is predicted, but has no picture of class maps: {error.reason}"

    def print_problems(self, table: Path) -> None:
        """Prints which files have no prediction or no picture, and why."""
        lines = lines_by_reason(self.reasons, f"the column 'error' of {printable(table)} lists them all")
        for line in [*lines, *lines_by_reason(self._undrawn)]:
            print(line, file=sys.stderr)

    def write_embeddings(self, path: Path) -> np.ndarray:
        """Writes and returns the embeddings of all predicted files [N, F]."""
        kept = {index: each for index, each in enumerate(self.predictions) if each is not None}
        values = np.stack([self._embeddings[index] for index in kept])
        classes = [each.class_name for each in kept.values()]
        write_embeddings(path, [self.files[index] for index in kept], classes, values)
        return values
