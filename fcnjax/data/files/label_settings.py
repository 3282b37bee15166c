"""Where the labels of files come from if not from folders: a table, or a pattern of their paths."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class LabelSettings:
    """Where the label, split and group of each file come from; by default from its folders.

    A column is given by its name, or by a template of names: "images/{id}.jpg", "{patient}-{side}"; "{ClassId:05}" pads
    a number with zeros.

    Attributes:
        table: CSV, TSV, JSON lines or Parquet file with a row for each file, relative to the folder of the data; a glob
            such as "*/labels.csv" names several. None: no table.
        pattern: regular expression that the path of a file, relative to the folder of the data, must match from its
            start, with a group "label", and if you like "split" and "group": "(?P<label>.+)_[0-9]+". Files that do not
            match are left out, and said. With a table, it is for the files that the table lacks. None: folders.
        lists: text files with a path at the start of each line, by the split that they make, such as
            "validation=validation_list.txt,test=testing_list.txt"; all other files are of the split "train". None: no
            lists.
        path: column of the file, relative to the folder of the data or to that of the table; a name alone, also without
            its ending, will do if one file has it. None: the column that names the most files.
        label: column of the label. None: the first of label, class, category, ... that the table has, or its only other
            column.
        split: column of the split; its values are then names of splits. None: split, subset or partition, if the table
            has it; else the folder of a file names its split.
        group: column of what must not be divided among splits: a patient, a speaker, a video. Slices such as
            "all[:80%]" then keep groups whole. None: group, patient, subject or speaker, also with "id", if the table
            has it; "none": no column.
        weight: column of the weight of each example in the training loss, above 0. None: all weigh the same.
        columns: names of the columns, for a table without a line of names. None: its first line.
    """

    table: str | None = None
    pattern: str | None = None
    lists: str | None = None
    path: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    weight: str | None = None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.pattern is not None:
            try:
                names = re.compile(self.pattern).groupindex
            except re.error as error:
                raise ValueError(f"pattern={self.pattern!r}: must be a regular expression; {error}.") from None
            if "label" not in names:
                raise ValueError(
                    f"pattern={self.pattern!r}: must have a group of the name label, such as '(?P<label>.+)_[0-9]+'."
                )

    @property
    def columns_asked(self) -> str | None:
        """The first column that is asked for, as "label=breed"; None if none is."""
        asked = ((name, getattr(self, name)) for name in ("path", "label", "split", "group", "weight", "columns"))
        return next((f"{name}={value!r}" for name, value in asked if value is not None), None)


FOLDERS_ALONE = LabelSettings()
