"""The one training loop: steps, metrics, checkpoints, and a run folder that can be resumed.

The one idea: the loss of a step is read after the next step is dispatched, so the device never waits for the host.
"""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from fcnjax.data.sources.example_checks import unusual_range
from fcnjax.installation import installed_version
from fcnjax.naming import joined
from fcnjax.progress import Bar, progress_bar, write_line
from fcnjax.training.compile.compilation import Compilation, CompileSettings, compiling_ahead
from fcnjax.training.compile.memory_fit import compiled_bytes
from fcnjax.training.compile.mesh import is_first_host, together
from fcnjax.training.data_digest import data_digest
from fcnjax.training.evaluation.evaluation_result import EvaluationResult
from fcnjax.training.run.checkpoints import Checkpoints, load_newest, open_checkpoints, save_arrays, steps_in
from fcnjax.training.run.interruption import Terminated, termination_noted
from fcnjax.training.run.preparation import check_hosts_agree, check_trainer, prepared_run, told_if_refused
from fcnjax.training.run.profiling import Profiler
from fcnjax.training.run.reports import Reports
from fcnjax.training.run.run_folder import RunFolder, environment
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.standalone import MODEL, write_model
from fcnjax.training.step.step import TrainState
from fcnjax.training.trainer import StepResult, Trainer


class TrainedRun(NamedTuple):
    """The results of a finished run in memory; its folder holds the same.

    Attributes:
        state: state after the last step.
        test: evaluation of the test split.
        folder: the run folder.
        seconds: wall time of the call to `train`, compilation included.
        unreadable: name and reason of each example, of any split, that could not be decoded.
    """

    state: TrainState
    test: EvaluationResult
    folder: RunFolder
    seconds: float
    unreadable: dict[str, str]

    def __repr__(self) -> str:
        """Returns the folder and the accuracy: the state is large."""
        return f"TrainedRun({str(self.folder.path)!r}, test accuracy {self.test.accuracy:.2%}, {self.seconds:.1f} s)"


def train(
    recipe: Recipe, workdir: Path | str, *, trainer: Trainer | None = None, progress: bool = True, title: str = ""
) -> TrainedRun:
    """Trains a recipe in a run folder, or resumes the interrupted run that the folder holds.

    A resumed run ends with the same weights and metrics, bit for bit, as one that was never interrupted. With
    `progress`, a note on stderr names float images whose values are not those of pixels (see `unusual_range`).

    Args:
        recipe: what to train.
        workdir: the run folder, which is new or holds an interrupted run of the same recipe.
        trainer: provides data and compiled steps; its recipe may differ in the seed and in how often it validates,
            logs and saves. Default: a new one.
        progress: whether to show what the data are, unless a trainer is given, and a bar with rate and time left.
        title: title of the bar; default: the name of the folder.

    Returns:
        The trained state and the evaluation of the test split.

    Raises:
        NotInstalledError: if this package is not installed: a run records its version.
        ValueError: if `trainer` has another recipe, hosts differ in recipe or data, or the data, the network or the
            device's memory do not fit the recipe.
        FileExistsError: if the folder holds anything other than an interrupted run of this recipe on these data.
        FloatingPointError: if the training loss or the weights are not finite.
        OSError: if a checkpoint or the metrics cannot be written and `recipe.checkpoint_failure` is "stop".
        Terminated: if the process received SIGTERM; the run is saved first.
        HostFailure: if another host of the run failed.
    """
    begun = time.perf_counter()
    installed_version()  # before anything that takes time
    with together("opening the run folder"):
        folder = RunFolder(workdir, recipe)  # checks the folder, writes nothing
    if trainer is None:
        with told_if_refused(progress):
            trainer, overview = prepared_run(recipe, workdir)
        if progress and is_first_host():
            write_line(f"{overview}\n", sys.stdout)
    else:
        with together("comparing the recipes"):
            check_trainer(trainer, recipe)
    with together("hashing the data"):
        digest = data_digest(trainer.sources)
        digest |= {} if trainer.initial is None else trainer.initial.digest
    check_hosts_agree(recipe, digest)
    progress = progress and is_first_host()
    if progress and (unusual := unusual_range(trainer.sources["train"])):
        write_line(f"Note: {unusual}")

    with ExitStack() as opened:
        opened.enter_context(_interruption_told(folder))
        with together("opening the run folder"):
            opened.enter_context(folder)  # locks it before anything compiles
        jobs = trainer.compilations(recipe.seed, max(steps_in(folder.checkpoints), default=0))
        first = trainer.programs.begins_with(jobs)
        report = _report_compiled if progress else lambda jobs, seconds: None
        compile_others = opened.enter_context(compiling_ahead(jobs, first=first, progress=progress, done=report))
        trainer.check_memory(jobs)  # before the folder becomes a run of a recipe that cannot run
        with together("starting the run"):
            folder.begin(digest, trainer.sources["train"].class_names)

        state = trainer.initial_state(recipe.seed)
        state, metrics = load_newest(folder.checkpoints, state, recipe.checkpoint_damaged) or (state, None)
        start, pending = int(state.step), None
        with together("reading the metrics"):
            folder.keep_metrics_until(start, metrics)

        with _open_checkpoints(folder, recipe) as checkpoints:
            reports = Reports(folder, recipe, trainer, start, terminal=progress)
            profiler = Profiler(folder.path, recipe.profile)
            bar = _bar(trainer, start, progress, title or folder.path.name)
            with bar, termination_noted() as terminated, reports, profiler:
                for step, done in _recorded(trainer.fit(state, recipe.seed), profiler, start):
                    compile_others()
                    state = done.state
                    if pending is not None:  # the previous step: its loss is read now that this step is dispatched
                        reports.step(*pending)
                    pending = step, done
                    bar.update(done.examples)
                    ending, due = terminated(step), _due_after(step, recipe, trainer.steps_per_epoch)
                    if not (ending or any(due)):
                        continue
                    loss, pending = reports.step(*pending), None
                    bar.set_postfix(loss=f"{loss:.3f}")
                    with reports.paused():
                        accuracy = None
                        if due.report:
                            reports.interval()
                        if due.validation:
                            validation = trainer.evaluate(state, "validation")
                            reports.evaluation("validation", step, validation)
                            accuracy = validation.accuracy
                            bar.set_postfix(loss=f"{loss:.3f}", validation=f"{accuracy:.2%}")
                        saving = checkpoints is not None and (due.checkpoint or ending)
                        if (saving or step == trainer.steps) and not trainer.is_finite(state):
                            reports.refuse_weights(step, done)  # the loss belongs to the weights before the step
                        if checkpoints is not None and saving and folder.settled():
                            checkpoints.save(step, state, accuracy, folder.metrics_written)
                    if ending:
                        if checkpoints is not None:
                            checkpoints.wait()
                        raise Terminated(_last_words("asked to end", folder))

            test = trainer.evaluate(state, "test")
            with Reports(folder, recipe, trainer, trainer.steps, terminal=False) as reports:
                reports.evaluation("test", trainer.steps, test)

        weights, statistics = state.evaluated
        save_arrays(folder.weights, {"weights": weights, "statistics": statistics})
        with together("writing the model"):
            write_model(folder.path / MODEL, recipe, trainer.sources, state, digest, test)
        seconds, unreadable = time.perf_counter() - begun, trainer.feed.all_unreadable()
        result = {"test_accuracy": test.accuracy, "correct": test.correct, "count": test.count}
        result |= {"unreadable": unreadable} if unreadable else {}
        folder.finish(result | {"seconds": round(seconds, 3)})
        return TrainedRun(state, test, folder, seconds, unreadable)


class _Due(NamedTuple):
    """What is due after a step; `report` is always due at the end of an epoch."""

    report: bool
    validation: bool
    checkpoint: bool


def _due_after(step: int, recipe: Recipe, steps_per_epoch: int) -> _Due:
    """Returns what the recipe asks for after step number `step`, counted from 1."""
    epoch, position = divmod(step, steps_per_epoch)
    ends_epoch = position == 0
    validation = ends_epoch and (_every(recipe.validate_every, epoch) or epoch == recipe.epochs)
    at_end = ends_epoch and _every(recipe.checkpoint_every, epoch)
    checkpoint = _every(recipe.checkpoint_steps, step) or at_end or (recipe.checkpoint_best > 0 and validation)
    return _Due(recipe.log.due(step, steps_per_epoch), validation, checkpoint)


def _every(interval: int, count: int) -> bool:
    return interval > 0 and count % interval == 0


def _open_checkpoints(folder: RunFolder, recipe: Recipe) -> AbstractContextManager[Checkpoints | None]:
    if not recipe.checkpoint_every and not recipe.checkpoint_steps:
        return nullcontext()
    return open_checkpoints(
        folder.checkpoints,
        last=recipe.checkpoint_last,
        best=recipe.checkpoint_best,
        about={"config": recipe.to_dict(), "environment": environment(CompileSettings.of(recipe))},
        on_failure=recipe.checkpoint_failure,
    )


def _recorded(steps: Iterator[StepResult], profiler: Profiler, start: int) -> Iterator[tuple[int, StepResult]]:
    """Yields number and result of each step after `start`, recorded by the profiler."""
    for number in itertools.count(start + 1):
        profiler.before(number)
        done = next(steps, None)
        if done is None:
            return
        profiler.after(number, done.loss)
        yield number, done


def _bar(trainer: Trainer, start: int, progress: bool, title: str) -> Bar:
    examples = len(trainer.sources["train"])
    return progress_bar(
        total=trainer.recipe.epochs * examples,
        initial=start * examples // trainer.steps_per_epoch,
        unit=" examples",
        title=title,
        disable=not progress,
        mininterval=0.5,
    )


def _report_compiled(jobs: Sequence[Compilation], seconds: float):
    """Prints how many programs were compiled, and the memory of each that takes a batch."""
    lines = [
        f"  {job.programs.name} {joined(job.shape)}: "
        f"{compiled_bytes(job.programs.programs[job.shape]) / 2**20:,.0f} MiB"
        for job in jobs
        if job.positions
    ]
    title = f"{len(jobs)} programs compiled after {seconds:.1f} s; memory while they run:"
    write_line("\n".join([title, *lines]), sys.stdout)


@contextmanager
def _interruption_told(folder: RunFolder) -> Iterator[None]:
    """Gives Ctrl-C the message of `_last_words`."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_last_words("interrupted", folder)) from None


def _last_words(why: str, folder: RunFolder) -> str:
    """Returns the message of a run that ends early: what the same command does then."""
    if steps := steps_in(folder.checkpoints):
        return f"{why}; step {steps[-1]} is saved in {folder.path}; the same command resumes it."
    return f"{why}; {folder.path} has no checkpoint; the same command starts over."
