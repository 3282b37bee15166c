"""The one training loop: steps, metrics, checkpoints, and a run folder that can be resumed."""

import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from fcnjax.models import Classifier
from fcnjax.naming import joined, unknown_name
from fcnjax.training.build import SCANS, SPLITS, data_digest
from fcnjax.training.compile.compilation import Compilation, compiling_ahead
from fcnjax.training.compile.memory_fit import compiled_bytes
from fcnjax.training.compile.mesh import gather_texts, is_first_host, together
from fcnjax.training.evaluation.evaluation_result import EvaluationResult
from fcnjax.training.run.checkpoints import (
    Checkpoints,
    latest_step,
    load_arrays,
    open_checkpoints,
    read_checkpoint,
    save_arrays,
)
from fcnjax.training.run.interruption import Terminated, termination_noted
from fcnjax.training.run.profiling import Profiler
from fcnjax.training.run.reports import Reports
from fcnjax.training.run.run_folder import RunFolder, environment, is_finished, read_config
from fcnjax.training.settings.recipe import PACE, Recipe
from fcnjax.training.step.step import TrainState
from fcnjax.training.trainer import StepResult, Trainer


class TrainedRun(NamedTuple):
    """What a finished run leaves in memory; the same is in its folder.

    Attributes:
        state: after the last step.
        test: evaluation of the test split.
        folder: the run folder.
        seconds: wall time of this call, compilation included.
        unreadable: examples of any split that could not be decoded, by name, with the reason.
    """

    state: TrainState
    test: EvaluationResult
    folder: RunFolder
    seconds: float
    unreadable: dict[str, str]


def train(
    recipe: Recipe, workdir: Path | str, *, trainer: Trainer | None = None, progress: bool = True, title: str = ""
) -> TrainedRun:
    """Trains a recipe in a run folder, or goes on with the interrupted run that the folder holds.

    A resumed run ends with the same weights and metrics, bit for bit, as one that was never interrupted.

    Args:
        recipe: what to train.
        workdir: the run folder; new, or of an interrupted run of the same recipe.
        trainer: whose data and compiled steps are used, a `Trainer` of the same recipe but for the seed and how often
            it validates and checkpoints; default: a new one.
        progress: whether to show a bar with rate and time left.
        title: what the bar is called; default: the name of the folder.

    Returns:
        The trained state and its test figures.

    Raises:
        ValueError: if `trainer` is of another recipe.
        FileExistsError: if the folder holds anything but an interrupted run of this recipe.
        ValueError: for data or a recipe that does not fit the network.
        FloatingPointError: if the training loss is not finite.
        OSError: if a checkpoint cannot be written, and the recipe is to stop then.
        Terminated: if the process was asked to end by SIGTERM; what it had is saved.
        HostFailure: if something of this went wrong on another host of the run.
    """
    begun = time.perf_counter()
    with together("reading the data"):
        trainer = Trainer(recipe, cache_dir=Path(workdir).parent / SCANS) if trainer is None else trainer
        _check_same_but_for_pace(recipe, trainer.recipe)
    digest = data_digest(trainer.sources)
    _check_same_on_hosts(recipe, digest)
    progress = progress and is_first_host()
    with ExitStack() as entered:
        with together("opening the run folder"):
            folder = RunFolder(workdir, recipe)
        jobs = trainer.compilations(recipe.seed, latest_step(folder.checkpoints))
        told = _tell_compiled if progress else lambda jobs, seconds: None
        first = trainer.programs.begins_with(jobs)
        go_on = entered.enter_context(compiling_ahead(jobs, first=first, progress=progress, done=told))
        trainer.check_memory(jobs)  # before the folder holds a run of a recipe that cannot run
        with together("opening the run folder"):
            entered.enter_context(folder)
            folder.check_data(digest)
        return _train_in(folder, recipe, trainer, go_on, progress, title, begun)


def _train_in(
    folder: RunFolder,
    recipe: Recipe,
    trainer: Trainer,
    go_on: Callable[[], None],
    progress: bool,
    title: str,
    begun: float,
) -> TrainedRun:
    with ExitStack() as entered:
        checkpoints = entered.enter_context(_open_checkpoints(folder, recipe))
        state = trainer.initial_state(recipe.seed)
        if checkpoints is not None and checkpoints.steps:
            state = checkpoints.load(state)
        folder.keep_metrics_until(int(state.step))
        title = title or folder.path.name
        state = _train_steps(recipe, trainer, state, folder, checkpoints, go_on, progress, title)
        test = trainer.evaluate(state, "test")
        with Reports(folder, recipe, trainer, int(state.step), terminal=False) as reports:
            reports.evaluation("test", int(state.step), test)
    weights, statistics = state.evaluated
    save_arrays(folder.weights, {"weights": weights, "statistics": statistics})
    seconds, unreadable = time.perf_counter() - begun, trainer.feed.all_unreadable()
    result = {"test_accuracy": test.accuracy, "correct": test.correct, "count": test.count}
    if unreadable:
        result["unreadable"] = unreadable
    folder.finish(result | {"seconds": round(seconds, 3)})
    return TrainedRun(state, test, folder, seconds, unreadable)


def _check_same_but_for_pace(recipe: Recipe, trained: Recipe):
    free = {name: getattr(trained, name) for name in PACE}
    if dataclasses.replace(recipe, **free) != trained:
        raise ValueError("trainer: is of another recipe than the one to train; give Trainer(recipe), or none.")


def _check_same_on_hosts(recipe: Recipe, digest: dict[str, str]):
    """Raises ValueError, on all hosts, if they are to train different recipes or have different data."""
    config = {name: value for name, value in recipe.to_dict().items() if name != "loader"}
    for what, mine in (("config", config), ("examples", digest)):
        said = gather_texts(hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest())
        others = [host for host, text in enumerate(said) if text != said[0]]
        if others:
            raise ValueError(f"{what}: differ between host 0 and host {others[0]}; give all hosts the same command.")


def _open_checkpoints(folder: RunFolder, recipe: Recipe) -> AbstractContextManager[Checkpoints | None]:
    if not recipe.checkpoint_every and not recipe.checkpoint_steps:
        return nullcontext()
    return open_checkpoints(
        folder.checkpoints,
        last=recipe.checkpoint_last,
        best=recipe.checkpoint_best,
        about={"config": recipe.to_dict(), "environment": environment()},
        on_failure=recipe.checkpoint_failure,
    )


def _train_steps(recipe, trainer, state, folder, checkpoints, go_on, progress, title) -> TrainState:
    """Runs the steps that are left, with metrics of each, and checkpoints.

    A step's loss is read only once the next step is on its way, so that the device never waits for it.
    """
    start, pending = int(state.step), None
    profiler = Profiler(folder.path, recipe.profile)
    reports = Reports(folder, recipe, trainer, start, terminal=progress)
    with _bar(trainer, start, progress, title) as bar, termination_noted() as terminated, reports, profiler:
        for step, done in enumerate(_recorded(trainer.fit(state, recipe.seed), profiler, start), start + 1):
            go_on()
            state, (epoch, position) = done.state, divmod(step, trainer.steps_per_epoch)
            if pending is not None:
                reports.step(*pending)
            pending = (step, done)
            bar.update(done.examples)
            ending, saving = terminated(step), recipe.checkpoint_steps and step % recipe.checkpoint_steps == 0
            telling, accuracy = recipe.log.due(step, trainer.steps_per_epoch), None
            if not (ending or saving or telling):  # nor is it the end of an epoch, which is always told
                continue
            loss, pending = reports.step(*pending), None
            bar.set_postfix(loss=f"{loss:.3f}")
            with reports.paused():
                if telling:
                    reports.interval()
                if not position and (_due(recipe.validate_every, epoch) or step == trainer.steps):
                    validation = trainer.evaluate(state, "validation")
                    reports.evaluation("validation", step, validation)
                    accuracy = validation.accuracy
                    bar.set_postfix(loss=f"{loss:.3f}", validation=f"{accuracy:.2%}")
                saving = saving or ending or (not position and _due(recipe.checkpoint_every, epoch))
                saving = saving or (recipe.checkpoint_best and accuracy is not None)
                kept = (saving and checkpoints is not None) or step == trainer.steps
                if kept and not trainer.is_finite(state):  # the loss is that of the weights before
                    reports.spoilt(step, done)
                if saving and checkpoints is not None and folder.settled():
                    checkpoints.save(step, state, accuracy)
            if ending:
                raise Terminated(_last_words(folder, checkpoints))
    return state


def _last_words(folder: RunFolder, checkpoints: Checkpoints | None) -> str:
    """Returns what a run says that was asked to end, once its last checkpoint is whole."""
    if checkpoints is not None:
        checkpoints.wait()
        if checkpoints.steps:
            return f"asked to end; step {checkpoints.steps[-1]} is saved in {folder.path}, the same command goes on."
    return f"asked to end; {folder.path} has no checkpoint, the same command begins anew."


def _recorded(steps: Iterator[StepResult], profiler: Profiler, start: int) -> Iterator[StepResult]:
    """Hands on the steps, with the profiler around each."""
    for number in itertools.count(start + 1):
        profiler.before(number)
        done = next(steps, None)
        if done is None:
            return
        profiler.after(number, done.loss)
        yield done


def _bar(trainer: Trainer, start: int, progress: bool, title: str) -> tqdm:
    examples = len(trainer.sources["train"])
    return tqdm(
        total=trainer.recipe.epochs * examples,
        initial=start * examples // trainer.steps_per_epoch,
        unit=" examples",
        desc=title,
        disable=not progress,
        mininterval=0.5,
    )


def _tell_compiled(jobs: Sequence[Compilation], seconds: float):
    """Says what was compiled, and the memory of each program."""
    lines = [
        f"  {job.programs.name} {joined(job.shape)}: "
        f"{compiled_bytes(job.programs.programs[job.shape]) / 2**20:,.0f} MiB"
        for job in jobs
        if job.positions
    ]
    tqdm.write("\n".join([f"{len(jobs)} programs compiled after {seconds:.1f} s; memory while they run:", *lines]))


def _due(every: int, epoch: int) -> bool:
    return every > 0 and epoch % every == 0


def load_run(workdir: Path | str, checkpoint: str | None = None) -> tuple[Trainer, TrainState]:
    """Returns the trainer and the final state of a finished run, or the state of a checkpoint of any run.

    Args:
        workdir: the run folder.
        checkpoint: "best" (in validation), "last", or a step, such as "1200"; None takes the final weights.

    Raises:
        FileNotFoundError: if the folder holds no finished run, or no such checkpoint.
    """
    path = Path(workdir)
    trainer = Trainer(Recipe.from_config(read_config(path)), cache_dir=path.parent / SCANS)
    if checkpoint is None:
        return trainer, load_state(trainer, path)
    like = trainer.initial_state(trainer.recipe.seed)
    return trainer, read_checkpoint(RunFolder.checkpoints_of(path), like, checkpoint)


def load_state(trainer: Trainer, workdir: Path) -> TrainState:
    """Returns the final state of the finished run in a folder, for a trainer of its recipe; averaged if the run was.

    Raises:
        FileNotFoundError: if the folder holds no finished run.
    """
    if not is_finished(workdir):
        raise FileNotFoundError(f"workdir={workdir}: holds no finished run. Repeat its 'fcnjax train' to finish it.")
    state = trainer.initial_state(trainer.recipe.seed)
    arrays = load_arrays(workdir / "weights", {"weights": state.weights, "statistics": state.statistics})
    return TrainState(state.step, arrays["weights"], arrays["statistics"], state.optimizer)


def load_model(workdir: Path | str) -> Classifier:
    """Returns the trained network of a finished run (see `load_run` for errors)."""
    trainer, state = load_run(workdir)
    return trainer.model(state)


def evaluate(workdir: Path | str, split: str = "test", checkpoint: str | None = None) -> EvaluationResult:
    """Evaluates the final weights of a finished run, or a checkpoint of any.

    Args:
        workdir: the run folder.
        split: "train", "validation" or "test".
        checkpoint: as for `load_run`.

    Returns:
        Loss, exact counts, and logits in the order of the split.

    Raises:
        FileNotFoundError: if the folder holds no finished run, or no such checkpoint.
        ValueError: for another split.
    """
    if split not in SPLITS:
        raise ValueError(unknown_name("split", split, SPLITS))
    trainer, state = load_run(workdir, checkpoint)
    return trainer.evaluate(state, split)
