"""Programs: the compiled steps of a recipe on all devices, and the order in which a run needs them.

Axes: B rows of a batch, D spatial axes, C channels.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fcnjax.data import EpochPlan, EvaluationPlan, MixedPlan, MixedStep, StepPlan
from fcnjax.padded import Padded
from fcnjax.training.compile.compilation import Compilation, CompiledByShape, CompileSettings, jit
from fcnjax.training.compile.mesh import by_rows, replicated, state_shardings
from fcnjax.training.step.step import (
    Gradient,
    Sums,
    Targets,
    TrainState,
    all_finite,
    make_accumulating_step,
    make_train_step,
    make_update,
)

NO_BUCKET: tuple[int, ...] = ()  # the shape of programs that do not take a batch


class Programs:
    """The steps of one network on the devices of a mesh, each compiled once for each bucket shape.

    Args:
        mesh: from `make_mesh`.
        gradient: from `make_gradient(..., divide=True)`.
        summed_gradient: from `make_gradient(..., divide=False)`.
        optimizer: from optax.
        evaluation: from `make_evaluation_step`.
        initial_state: function from a seed (uint32 []) to the state before the first step.
        channels: number of channels C of the examples.
        weighted: whether training examples have weights (see `Targets`).
        settings: of all programs; only the gradient recomputes activations.
        shard_weights: see `state_shardings`.
        ema_decay: decay of the averaged weights (see `fcnjax.training.step.average`); None: no average.

    Attributes:
        train_step, accumulate_step, evaluation_step, update, all_finite: compiled; see `fcnjax.training.step.step`.
        zero_sums: program from the weights to the sums before the first part of a step.
        state: shapes and shardings of the train state.
    """

    def __init__(
        self,
        mesh: Mesh,
        gradient: Gradient,
        summed_gradient: Gradient,
        optimizer: optax.GradientTransformation,
        evaluation: Any,
        initial_state: Any,
        channels: int,
        *,
        weighted: bool,
        settings: CompileSettings,
        shard_weights: bool = False,
        ema_decay: float | None = None,
    ):
        self.mesh, self._channels, self._weighted = mesh, channels, weighted
        shapes = jax.eval_shape(initial_state, jax.ShapeDtypeStruct((), jnp.uint32))
        shardings, everywhere = state_shardings(mesh, shapes, shard=shard_weights), replicated(mesh)
        self.state = _with_shardings(shapes, shardings)
        plain = dataclasses.replace(settings, remat=False)
        self._initial_state = jit(initial_state, out_shardings=shardings, settings=plain)
        sums = jax.eval_shape(Sums.zeros, shapes.weights)
        summed = state_shardings(mesh, sums, shard=shard_weights)
        self._sums = _with_shardings(sums, summed)
        self.zero_sums = CompiledByShape(Sums.zeros, (), summed, "zeros", plain)
        train = make_train_step(gradient, optimizer, ema_decay)
        self.train_step = CompiledByShape(train, (0,), (shardings, everywhere), "train", settings)
        self.accumulate_step = CompiledByShape(
            make_accumulating_step(summed_gradient), (0, 1), (shardings, summed), "train, a part of a step", settings
        )
        self.update = CompiledByShape(
            make_update(optimizer, ema_decay), (0, 1), (shardings, everywhere, summed), "update", plain
        )
        self.evaluation_step = CompiledByShape(evaluation, (), everywhere, "evaluate", plain)
        self.all_finite = CompiledByShape(all_finite, (), everywhere, settings=plain)

    @property
    def waited(self) -> float:
        """Seconds that training has waited for compilation so far."""
        return self.train_step.waited + self.accumulate_step.waited + self.update.waited

    def initial_state(self, seed: int) -> TrainState:
        """Returns the state before the first step of the run with this seed."""
        return self._initial_state(np.uint32(seed))

    def for_training(self, plan: EpochPlan | MixedPlan, start: int) -> list[Compilation]:
        """Returns the programs of training, in the order in which the steps from `start` on need them."""
        buckets = _in_order(
            part.bucket for index in range(start, start + plan.steps_per_epoch) for part in parts_of(plan.step(index))
        )
        if isinstance(plan, EpochPlan):
            buckets = [*buckets, *(set(np.flatnonzero(plan.batches_per_bucket).tolist()) - set(buckets))]
            return [self._job(self.train_step, plan, bucket, self.state) for bucket in buckets]
        # Another epoch may draw sizes for any bucket, and steps resumed mid-epoch span two epochs.
        later = range(len(plan.buckets.shapes)) if plan.sizes_at is not None else plan.buckets.assign(plan.sizes)
        buckets = [*buckets, *sorted({int(bucket) for bucket in later} - set(buckets))]
        parts = [self._job(self.accumulate_step, plan, bucket, self.state, self._sums) for bucket in buckets]
        zeros = Compilation(self.zero_sums, NO_BUCKET, (self.state.weights,))
        update = Compilation(self.update, NO_BUCKET, (self.state, self._sums))
        return [zeros, *parts[:2], update, *parts[2:]]

    def for_evaluation(self, plans: Iterable[EvaluationPlan]) -> list[Compilation]:
        """Returns the programs of evaluations, in the order in which they need them."""
        jobs: dict[int, Compilation] = {}
        for plan in plans:
            for bucket in _in_order(step.bucket for step in plan):
                if bucket not in jobs:
                    jobs[bucket] = self._evaluation(plan, bucket)
        return list(jobs.values())

    def for_checkpoints(self) -> list[Compilation]:
        """Returns the program that checks weights before they are saved."""
        return [Compilation(self.all_finite, NO_BUCKET, ((self.state.weights, self.state.statistics),))]

    def largest(self, jobs: Sequence[Compilation]) -> Compilation:
        """Returns the program with the most padded positions, among the training steps if `jobs` has any."""
        batches = [job for job in jobs if job.rows]
        return max(batches, key=lambda job: (job.programs is not self.evaluation_step, job.positions))

    def begins_with(self, jobs: Sequence[Compilation]) -> list[Compilation]:
        """Returns the jobs that a run waits for before its first step: the jobs up to that step, and the largest."""
        first = next(index for index, job in enumerate(jobs) if job.rows)
        return [*jobs[: first + 1], self.largest(jobs)]

    def expect(self, jobs: Iterable[Compilation]):
        """Records that a run needs only these programs; any other compilation warns from now on."""
        for job in jobs:
            job.programs.planned = (job.programs.planned or set()) | {job.shape}

    def _job(self, programs: CompiledByShape, plan: Any, bucket: int, *before: Any) -> Compilation:
        shape, rows = self._bucket(plan, bucket)
        seed_and_epoch = jax.ShapeDtypeStruct((2,), jnp.uint32, sharding=replicated(self.mesh))

        def args_of(rows: int) -> tuple[Any, ...]:
            return (*before, *self._batch(shape, rows), seed_and_epoch)

        return Compilation(programs, shape, args_of(rows), rows, args_of)

    def _evaluation(self, plan: EvaluationPlan, bucket: int) -> Compilation:
        shape, rows = self._bucket(plan, bucket)

        def args_of(rows: int) -> tuple[Any, ...]:
            batch, targets = self._batch(shape, rows)
            return self.state.weights, self.state.statistics, batch, targets.labels

        return Compilation(self.evaluation_step, shape, args_of(rows), rows, args_of)

    def _bucket(self, plan: Any, bucket: int) -> tuple[tuple[int, ...], int]:
        """Returns the shape of a bucket and the rows of its batches, rounded up to a multiple of the devices."""
        rows = -(-int(plan.rows_per_bucket[bucket]) // self.mesh.size) * self.mesh.size
        return tuple(plan.buckets.shapes[bucket].tolist()), rows

    def _batch(self, shape: tuple[int, ...], rows: int) -> tuple[Padded, Targets]:
        """Returns shapes and shardings of a batch."""

        def array(*extents: int, dtype: Any = jnp.int32) -> Any:
            return jax.ShapeDtypeStruct((rows, *extents), dtype, sharding=by_rows(self.mesh))

        values = array(*shape, self._channels, dtype=jnp.float32)
        weights = array(dtype=jnp.float32) if self._weighted else None
        return Padded(values, array(len(shape))), Targets(array(), array(), weights)


def parts_of(step: StepPlan | MixedStep) -> tuple[StepPlan, ...]:
    """Returns the parts of a step, each from one bucket."""
    return step.micro_batches if isinstance(step, MixedStep) else (step,)


def _in_order(items: Iterator[int]) -> list[int]:
    return list(dict.fromkeys(items))


def _with_shardings(shapes: Any, shardings: Any) -> Any:
    def place(shape: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding, weak_type=shape.weak_type)

    return jax.tree.map(place, shapes, shardings)
