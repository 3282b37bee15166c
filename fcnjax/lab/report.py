"""A report as a value: sections of paragraphs, claims, tables and pictures, computed from `Results`.

`fcnjax.lab.writers` writes it as Markdown, HTML or terminal tables; nothing here depends on an output format.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from matplotlib.figure import Figure

from fcnjax.lab.claims import Claim
from fcnjax.lab.figures import accuracy_figure, loss_figure, size_figure
from fcnjax.lab.measures import SizeBins, size_bins
from fcnjax.lab.results import Results
from fcnjax.lab.tables import Table, arm_table, fact_table, function_table, size_table


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    Attributes:
        name: slug, the file name in the `figures` folder of a Markdown report.
        png: content of the image file.
        caption: what it shows; also the alternative text.
    """

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading; empty fields are left out.

    Attributes:
        title: heading.
        paragraphs: plain text, one string per paragraph.
        claims: sentences with verdict and evidence.
        tables: tables with captions.
        pictures: figures with captions.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Report:
    """A title and sections, in the order of reading."""

    title: str
    sections: tuple[Section, ...]


def picture(name: str, figure: Figure, caption: str, dpi: int = 144) -> Picture:
    """Returns a figure as a `Picture`.

    Args:
        name: slug, the file name in the `figures` folder of a Markdown report.
        figure: any matplotlib figure.
        caption: a sentence that says what it shows.
        dpi: pixels per inch; 144 is sharp at the width of a README.

    Returns:
        The picture; equal figures give equal bytes.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return Picture(name, buffer.getvalue(), caption)


def build_report(
    results: Results,
    claims: Sequence[Claim],
    class_maps: Picture | None = None,
    extra: Sequence[Section] = (),
    bins: SizeBins | int = 5,
    loss_steps: int = 50,
) -> Report:
    """Returns the report of an experiment.

    Its sections are the question, the answer, the arms, equal functions, accuracy by size, class maps and the method of
    measurement.

    Args:
        results: what was measured.
        claims: the answer, the most important claim first.
        class_maps: picture of a `class_map_panel`, or None to leave the section out.
        extra: further sections, placed before "How it was measured".
        bins: from `size_bins`, or the number of bins to ask for.
        loss_steps: number of first steps whose losses the table of equal functions compares, at least 1.

    Returns:
        The report.
    """
    groups = size_bins(results, bins) if isinstance(bins, int) else bins
    sections = [
        Section("The question", (results.experiment.question,)),
        Section("The answer", claims=tuple(claims)),
        _arm_section(results),
    ]
    if results.experiment.equal_functions:
        words = "These arms should compute one function of the same parameters. Largest differences over all seeds:"
        sections.append(Section("One function?", (words,), tables=(function_table(results, loss_steps),)))
    sections.append(_size_section(results, groups))
    if class_maps is not None:
        sections.append(Section("Class maps", pictures=(class_maps,)))
    return Report(results.experiment.title, (*sections, *extra, _method_section(results)))


def _arm_section(results: Results) -> Section:
    accuracy = picture("accuracy", accuracy_figure(results), "Test accuracy of every arm.")
    words = "Training loss of every arm: thin lines are seeds, the thick one their mean; the other arms in gray."
    loss = picture("loss", loss_figure(results), words)
    return Section("The arms", tables=(arm_table(results),), pictures=(accuracy, loss))


def _size_section(results: Results, bins: SizeBins) -> Section:
    words = (
        "The side of an example is the geometric mean of its extents (the square root of height x width for images). "
        "Intervals here cover which examples happen to be in the test set; a bin holds few of them, so they are wide."
    )
    caption = "Accuracy by size of the test example, with 95 % bands over test examples; the other arms in gray."
    figure = picture("accuracy_by_size", size_figure(results, bins), caption)
    return Section("Accuracy by test size", (words,), tables=(size_table(results, bins),), pictures=(figure,))


def _method_section(results: Results) -> Section:
    experiment, pairs = results.experiment, results.experiment.pairs
    seeds, names = len(results.seeds), ", ".join(map(str, results.seeds))
    meaning = [
        f"Accuracies are means over {seeds} seed{'s' * (seeds > 1)} ({names}) on one fixed "
        f"test set of {results.test_count} examples. Their 95 % intervals (Student t) say how much another seed would "
        "change them, not what another test set would."
    ]
    if seeds == 1:
        meaning.append("With one seed there is no interval: differences between arms cannot be told from chance.")
    if pairs:
        names = ", ".join(f"{arm.title} against {baseline.title}" for arm, baseline in pairs)
        meaning.append(
            f"Paired differences compare the same seed in both arms ({names}). The intervals are not corrected for "
            f"their number: among {len(pairs)} such intervals about {0.05 * len(pairs):.2g} would exclude zero by "
            "chance."
        )
    rounds = len(results.costs[0].step_ms)
    meaning.append(
        f"Step times are medians of {rounds} round{'s' * (rounds > 1)} in which the {len(experiment.arms)} arms ran "
        "one after another, so that a slow moment of the machine affects all of them. Multiply-adds are counted."
    )
    tables = (fact_table(results),) if results.facts else ()
    return Section("How it was measured", tuple(meaning), tables=tables)
