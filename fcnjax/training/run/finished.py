"""Finished runs read back: the trainer, the trained state, and an evaluation of any split."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from fcnjax.naming import unknown_name
from fcnjax.training.build import SPLITS
from fcnjax.training.evaluation.evaluation_result import EvaluationResult
from fcnjax.training.run.checkpoints import load_arrays, read_checkpoint, steps_in
from fcnjax.training.run.preparation import trained_on
from fcnjax.training.run.run_data import moved, tell_changes
from fcnjax.training.run.run_folder import CHECKPOINTS, WEIGHTS, is_finished, read_config
from fcnjax.training.settings.learning_settings import LossSettings
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.step.step import TrainState
from fcnjax.training.trainer import Trainer


def load_run(
    workdir: Path | str,
    checkpoint: str | None = None,
    *,
    split: str | None = None,
    data: str | os.PathLike[str] | None = None,
    on_error: str | None = None,
    unknown_classes: str = "refuse",
    with_train: bool = False,
) -> tuple[Trainer, TrainState]:
    """Returns the trainer and the final state of a finished run, or the state at a checkpoint of any run.

    The data are read again. Their labels count in the classes of the run, matched by name: some may be missing now, be
    new, or stand in another order. A relative path of the config is one in the folder in which the run began, else in
    the present one.

    Args:
        workdir: the run folder.
        checkpoint: "best" (highest validation accuracy), "last", or a step, such as "1200"; None: the final weights.
        split: "train", "validation" or "test", to evaluate this one: the others may then be damaged, changed or absent,
            and a line on stderr says if its examples are not those of training. None: to train or compare.
        data: the folder, or the `.npz` file, to which the data moved; None: as in the config.
        on_error: "refuse" or "mask", in place of `config.data.on_error`.
        unknown_classes: "refuse" raises if examples have a class that the run lacks, "skip" leaves them out.
        with_train: whether training examples are needed as well as those of `split`, as to re-estimate statistics.

    Raises:
        FileNotFoundError: if the folder does not hold a finished run, or not that checkpoint; or if there are no data.
        ValueError: if a file of the run is damaged, or examples have a class that the run lacks.
        HostFailure: if another host of several, all of which must call this, cannot read the data.
    """
    path = Path(workdir)
    recipe = dataclasses.replace(Recipe.from_config(read_config(path)), init_from=None)  # it need not be there any more
    settings = recipe.data if on_error is None else dataclasses.replace(recipe.data, on_error=on_error)
    if split is not None:  # what training asks of its data, and weighs, does not matter
        settings = dataclasses.replace(settings, absent_classes="allow", leakage="ignore")
        recipe = dataclasses.replace(recipe, loss=LossSettings())
    recipe = dataclasses.replace(recipe, data=settings)
    recipe = recipe if data is None else moved(recipe, data)
    trainer = trained_on(recipe, path, split, unknown_classes, with_train=with_train)
    if split is not None:
        tell_changes(trainer, path, split)
    if checkpoint is None:
        return trainer, load_state(trainer, path)
    if checkpoint == "best" and not recipe.checkpoint_best:
        steps = ", ".join(map(str, steps_in(path / CHECKPOINTS))) or "none"
        raise FileNotFoundError(
            f"checkpoint=best: the run kept no best checkpoint (config.checkpoint_best=0); use last or a step: {steps}."
        )
    like = trainer.initial_state(trainer.recipe.seed)
    return trainer, read_checkpoint(path / CHECKPOINTS, like, checkpoint)


def load_state(trainer: Trainer, workdir: Path) -> TrainState:
    """Returns the final state of a finished run, with averaged weights if the run averaged them.

    Args:
        trainer: a trainer of the run's recipe; the seed may differ.
        workdir: the run folder.

    Raises:
        FileNotFoundError: if the folder does not hold a finished run.
        ValueError: if the weights are damaged.
    """
    if not is_finished(workdir):
        raise FileNotFoundError(
            f"workdir={workdir}: must hold a finished run; repeat its 'fcnjax train' command to finish it."
        )
    state = trainer.initial_state(trainer.recipe.seed)
    arrays = load_arrays(workdir / WEIGHTS, {"weights": state.weights, "statistics": state.statistics})
    return TrainState(state.step, arrays["weights"], arrays["statistics"], state.optimizer)


def evaluate(
    workdir: Path | str, split: str = "test", checkpoint: str | None = None, **options: Any
) -> EvaluationResult:
    """Evaluates the final weights of a finished run, or a checkpoint of any run, on a split of its data.

    Args:
        workdir: the run folder.
        split: "train", "validation" or "test".
        checkpoint: as for `load_run`.
        **options: `data`, `on_error` and `unknown_classes`, as for `load_run`.

    Returns:
        Loss, exact counts, and logits in the order of the split.

    Raises:
        FileNotFoundError: if the folder does not hold a finished run, or not that checkpoint.
        ValueError: if `split` is unknown, a file of the run is damaged, or examples have a class that the run lacks.
    """
    if split not in SPLITS:
        raise ValueError(unknown_name("split", split, SPLITS))
    trainer, state = load_run(workdir, checkpoint, split=split, **options)
    return trainer.evaluate(state, split)
