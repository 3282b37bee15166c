"""The one training loop: steps, metrics, checkpoints, and a run folder that can be resumed."""

import dataclasses
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from fcnjax.models import Classifier
from fcnjax.naming import unknown_name
from fcnjax.training.checkpoints import load_arrays, open_checkpoints, save_arrays
from fcnjax.training.preparation import SCANS, SPLITS
from fcnjax.training.recipe import Recipe
from fcnjax.training.run_folder import RunFolder, is_finished, read_config
from fcnjax.training.step import TrainState
from fcnjax.training.trainer import EvaluationResult, StepResult, Trainer


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
      trainer: whose data and compiled steps are used, a `Trainer` of the same recipe but for the seed and how often it
        validates and checkpoints; default: a new one.
      progress: whether to show a bar with rate and time left.
      title: what the bar is called; default: the name of the folder.

    Returns:
      The trained state and its test figures.

    Raises:
      ValueError: if `trainer` is of another recipe.
      FileExistsError: if the folder holds anything but an interrupted run of this recipe.
      ValueError: for data or a recipe that does not fit the network.
      FloatingPointError: if the training loss is not finite.
    """
    begun = time.perf_counter()
    trainer = Trainer(recipe, cache_dir=Path(workdir).parent / SCANS) if trainer is None else trainer
    _check_same_but_for_pace(recipe, trainer.recipe)
    with RunFolder(workdir, recipe) as folder:
        folder.check_data(trainer.data_digest())
        return _train_in(folder, recipe, trainer, progress, title, begun)


def _train_in(
    folder: RunFolder, recipe: Recipe, trainer: Trainer, progress: bool, title: str, begun: float
) -> TrainedRun:
    keeps = open_checkpoints(folder.checkpoints) if recipe.checkpoint_every else nullcontext()
    with keeps as checkpoints:
        state = trainer.initial_state(recipe.seed)
        if checkpoints is not None and checkpoints.exist:
            state = checkpoints.load(state)
        folder.keep_metrics_until(int(state.step))
        state = _train_epochs(recipe, trainer, state, folder, checkpoints, progress, title or folder.path.name)
    test = trainer.evaluate(state, "test")
    with folder.appending() as write:
        write(_evaluation_row("test", int(state.step), test))
    weights, statistics = state.evaluated
    save_arrays(folder.weights, {"weights": weights, "statistics": statistics})
    seconds = time.perf_counter() - begun
    result = {"test_accuracy": test.accuracy, "correct": test.correct, "count": test.count}
    if trainer.unreadable:
        result["unreadable"] = dict(sorted(trainer.unreadable.items()))
    folder.finish(result | {"seconds": round(seconds, 3)})
    return TrainedRun(state, test, folder, seconds, trainer.unreadable)


def _check_same_but_for_pace(recipe: Recipe, trained: Recipe):
    free = {name: getattr(trained, name) for name in ("seed", "validate_every", "checkpoint_every", "loader")}
    if dataclasses.replace(recipe, **free) != trained:
        raise ValueError("trainer: is of another recipe than the one to train; give Trainer(recipe), or none.")


def _train_epochs(recipe, trainer, state, folder, checkpoints, progress, title) -> TrainState:
    """Runs the steps that are left, writing metrics at each and checkpoints at the end of epochs."""
    examples, steps = len(trainer.sources["train"]), trainer.steps_per_epoch
    start = int(state.step)
    bar = tqdm(
        total=recipe.epochs * examples,
        initial=start // steps * examples,
        unit=" examples",
        desc=title,
        disable=not progress,
        mininterval=0.5,
    )
    pending = None  # the step before, whose loss is read only once the next step is on its way
    with bar, folder.appending() as write:
        for step, done in enumerate(trainer.fit(state, recipe.seed), start + 1):
            state = done.state
            if pending is not None:
                write(_train_row(*pending))
            pending = (step, (step - 1) // steps, done)
            bar.update(done.examples)
            if step % steps:
                continue
            row = _train_row(*pending)
            write(row)
            pending, epoch, postfix = None, step // steps, {"loss": f"{row['loss']:.3f}"}
            if _due(recipe.validate_every, epoch) or epoch == recipe.epochs:
                validation = trainer.evaluate(state, "validation")
                write(_evaluation_row("validation", step, validation))
                postfix["validation"] = f"{validation.accuracy:.2%}"
            bar.set_postfix(postfix)
            if checkpoints is not None and _due(recipe.checkpoint_every, epoch):
                checkpoints.save(step, state)
    return state


def _due(every: int, epoch: int) -> bool:
    return every > 0 and epoch % every == 0


def _train_row(step: int, epoch: int, done: StepResult) -> dict:
    value = float(done.loss)
    if not value < float("inf"):
        raise FloatingPointError(
            f"training loss {value} at step {step} (epoch {epoch}): lower config.optimizer.learning_rate, or set "
            "config.optimizer.clip_norm. The run folder keeps what came before."
        )
    row = {"event": "train", "step": step, "epoch": epoch, "loss": value, "examples": done.examples}
    return row | ({"unreadable": done.unreadable} if done.unreadable else {})


def _evaluation_row(event: str, step: int, result: EvaluationResult) -> dict:
    row = {
        "event": event,
        "step": step,
        "loss": result.loss,
        "accuracy": result.accuracy,
        "correct": result.correct,
        "count": result.count,
    }
    return row | ({"unreadable": result.unreadable} if result.unreadable else {})


def load_run(workdir: Path | str) -> tuple[Trainer, TrainState]:
    """Returns the trainer and the final state of a finished run.

    Raises:
      FileNotFoundError: if the folder holds no finished run.
    """
    path = Path(workdir)
    trainer = Trainer(Recipe.from_config(read_config(path)), cache_dir=path.parent / SCANS)
    return trainer, load_state(trainer, path)


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


def evaluate(workdir: Path | str, split: str = "test") -> EvaluationResult:
    """Evaluates the final weights of a finished run.

    Args:
      workdir: the run folder.
      split: "train", "validation" or "test".

    Returns:
      Loss, exact counts, and logits in the order of the split.

    Raises:
      FileNotFoundError: if the folder holds no finished run.
      ValueError: for another split.
    """
    if split not in SPLITS:
        raise ValueError(unknown_name("split", split, SPLITS))
    trainer, state = load_run(workdir)
    return trainer.evaluate(state, split)
