"""`fcnjax evaluate`: metrics of a run on one of its splits, or of a model on data that it never saw."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from rich.console import Console

from fcnjax.commands.command_line import UsageError, parse, required
from fcnjax.data import PartialSource, RelabeledSource, ResizedSource, SizePolicy, Source
from fcnjax.data.decoding.unreadable import lines_by_reason
from fcnjax.data.overview.overview_text import reason_lines
from fcnjax.data.sources.relabeled import UNKNOWN
from fcnjax.data.sources.source import ON_ERROR
from fcnjax.inference import Predictor, load
from fcnjax.inference.given_data import check_run, evaluate_source, matched
from fcnjax.inference.predictor import MAX_AREA
from fcnjax.naming import check_name, printable
from fcnjax.training import (
    AtSize,
    EvaluationResult,
    Trainer,
    TrainState,
    check_new,
    check_sizes,
    load_run,
    parse_sizes,
    reestimated_statistics,
    summary_tables,
    sweep,
    sweep_tables,
    write_report,
)
from fcnjax.training.build import SPLITS
from fcnjax.training.run.run_data import holds_split


class Evaluation(NamedTuple):
    """What is evaluated, before anything is computed.

    Attributes:
        title: names the examples in the first line.
        source: the examples, and the names of the model's classes.
        native: the same examples before the size policy of training.
        minimum: the network's minimum size.
        evaluate: evaluates `source`.
        at_sizes: evaluates examples at the sizes that they have.
        about: what the report says of it.
        skipped: number of examples that are left out, by the name of their class.
    """

    title: str
    source: Source
    native: Source
    minimum: Sequence[int]
    evaluate: Callable[[], EvaluationResult]
    at_sizes: Callable[[Source], EvaluationResult]
    about: dict[str, Any]
    skipped: Mapping[str, int]


def run(argv: Sequence[str]) -> None:
    """Evaluate a run on one of its splits, or a model on data that it never saw, at other sizes, too."""
    given = parse(argv, _define)
    if given.model is not None and given.workdir is not None:
        raise UsageError(f"--workdir={given.workdir}: is another name of --model; give one of them.")
    model = Path(required(given.workdir if given.model is None else given.model, "model", "runs/digits"))
    if given.report is not None:
        check_new(given.report)
    own = given.data is None or (given.split is not None and holds_split(model, given.data, given.split))
    evaluation = _of_run(model, given) if own else _of_data(model, given)
    terms = []
    if given.sizes is not None:
        terms = parse_sizes(given.sizes, evaluation.native.sizes.shape[1])
        check_sizes(terms, evaluation.native, evaluation.minimum, MAX_AREA)
    result = evaluation.evaluate()
    sizes = sweep(evaluation.at_sizes, evaluation.native, result, terms) if terms else []
    _tell(evaluation, result, sizes)
    if given.report is not None:
        about = evaluation.about | {"skipped": dict(evaluation.skipped), "reasons": dict(result.reasons)}
        print(f"\nreport {write_report(given.report, result.metrics, evaluation.source, about, sizes)}")


def _of_run(workdir: Path, given: Any) -> Evaluation:
    """Returns the evaluation of a split of a run, whose data may have moved."""
    split = given.split or "test"
    check_name("split", split, SPLITS)
    check_run(workdir, f"split={split}")
    on_error = None if given.data is None and not given["on_error"].present else given.on_error
    options = {"split": split, "data": given.data, "on_error": on_error, "unknown_classes": given.unknown_classes}
    trainer, state = load_run(workdir, given.checkpoint, **options, with_train=given.reestimate_statistics)
    if given.reestimate_statistics:
        state = _reestimated(trainer, state)
    source, chosen = trainer.sources[split], {"split": split, "checkpoint": given.checkpoint}
    chosen |= {} if given.data is None else {"data": given.data}
    return Evaluation(
        split if given.data is None else f"{printable(given.data)} ({split})",
        source,
        source.source if isinstance(source, ResizedSource) else source,
        trainer.model(state).min_size,
        lambda: trainer.evaluate(state, split),
        lambda changed: trainer.evaluate(state, changed),
        chosen | {"reestimated_statistics": given.reestimate_statistics},
        _skipped(source),
    )


def _skipped(source: Any) -> Mapping[str, int]:
    """Returns the examples of unknown classes that a source leaves out, also if other sources stand around it."""
    while not isinstance(source, RelabeledSource):
        if not isinstance(source, PartialSource | ResizedSource):
            return {}
        source = source.source
    return source.skipped


def _of_data(model: Path, given: Any) -> Evaluation:
    """Returns the evaluation of data that training never saw."""
    for name in ("checkpoint", "reestimate_statistics"):
        if given[name].value:
            raise UsageError(
                f"--{name}: needs a split of the run, --split=test, and data that hold its splits; leave out --data if "
                "they did not move, or leave out this flag."
            )
    predictor = load(model)
    source = matched(predictor, given.data, given.split, given.on_error, given.unknown_classes)
    plain, size = predictor, predictor.model.recipe.size
    if size != SizePolicy():
        recipe = dataclasses.replace(predictor.model.recipe, size=SizePolicy())
        plain = Predictor(dataclasses.replace(predictor.model, recipe=recipe))
    return Evaluation(
        f"{printable(given.data)}{f' ({printable(given.split)})' if given.split else ''}",
        source,
        source,
        predictor.network.min_size,
        lambda: evaluate_source(predictor, source, given.on_error, progress=True),
        lambda changed: evaluate_source(plain, changed, given.on_error, progress=True),
        {"data": given.data, "split": given.split},
        source.skipped,
    )


def _reestimated(trainer: Trainer, state: TrainState) -> TrainState:
    weights, statistics = state.evaluated
    state = dataclasses.replace(state, weights=weights, statistics=statistics, average=None)
    state = dataclasses.replace(state, statistics=reestimated_statistics(trainer, state))
    if not state.statistics:
        print("this network has no batch statistics: there is nothing to re-estimate")
    return state


def _tell(evaluation: Evaluation, result: EvaluationResult, sizes: Sequence[AtSize]) -> None:
    words = f"accuracy {result.accuracy:.2%} ({result.correct} of {result.count}), loss {result.loss:.6f}"
    print(f"{evaluation.title} {words}")
    if "data" in evaluation.about:
        told = [f"ignored: {line}" for line in reason_lines(evaluation.native.ignored)]
        for line in [*told, *(f"note: {note}" for note in evaluation.native.notes)]:
            print(printable(line))
    if evaluation.skipped:
        classes = ", ".join(f"{printable(name)} ({count:,})" for name, count in evaluation.skipped.items())
        print(f"{sum(evaluation.skipped.values()):,} examples skipped, of classes that the model lacks: {classes}")
    if result.reasons:
        print(f"{len(result.reasons):,} examples left out")
    for line in lines_by_reason(result.reasons, "metrics.json of --report lists them all"):
        print(line, file=sys.stderr)
    console = Console()
    tables = summary_tables(result.metrics, evaluation.source.class_names)
    for table in [*tables, *(sweep_tables(sizes) if sizes else [])]:
        console.print()
        console.print(table)
    for each in sizes:
        if each.shorter:
            print(f"{each.shorter:,} signals are shorter than {each.name} samples, and stay whole")


def _define(values: flags.FlagValues) -> None:
    texts = {
        "model": "Run folder, or model folder.",
        "workdir": "Another name of --model.",
        "split": "Split of the run: train, validation or test (default), as its config defines it; also in --data, if "
        "they hold the splits of the config. With other data: a split of the folder or of the file (default: test if "
        "there is one, else everything).",
        "data": "Data that the model never saw: a folder of class folders, or an .npz file; or, with --split, the "
        "place to which the run's own data moved. Classes match by name.",
        "checkpoint": "Checkpoint instead of the final weights: best (in validation), last, or a step.",
        "report": "Folder for a report: figures, tables, predictions.",
        "sizes": "Also evaluate at other sizes, separated by commas. Images are resampled: 28x16, 64px (the shorter "
        "side), 0.5 (of their own size). Signals are cut to their middle: 8000 (samples), 0.5 (of their own length).",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    measured = "Use batch statistics of one pass over the train split instead of training's moving averages."
    flags.DEFINE_bool("reestimate_statistics", False, measured, flag_values=values)
    wrong = (
        "Leave out and list what cannot be read (mask), or stop (refuse); default of a run's own data: its config's."
    )
    flags.DEFINE_enum("on_error", "mask", ON_ERROR, wrong, flag_values=values)
    lacking = "Refuse examples of classes that the model lacks, or skip and count them."
    flags.DEFINE_enum("unknown_classes", "refuse", UNKNOWN, lacking, flag_values=values)
