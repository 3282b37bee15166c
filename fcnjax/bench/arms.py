"""The arms of `fcnjax bench train`: what is trained, on which batches, by which implementation.

An arm is prepared (its programs are compiled, its batches placed on the device), and then takes turns with the others.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.bench.compiling import CompiledPrograms
from fcnjax.bench.flax_resnet import DEPTHS, make_flax_step
from fcnjax.bench.jax_step import MOMENTUM, OPTIMIZER, RATE, JaxStep, step_inputs
from fcnjax.bench.native_sizes import Rows, Stretch, of_one_size, one_by_one
from fcnjax.bench.timing import TimedProgram
from fcnjax.bench.torch_step import TorchStep, find_torch, torchvision_network
from fcnjax.bench.torch_twin import torch_twin
from fcnjax.bench.unmasked import UnmaskedBatch
from fcnjax.bench.workload import (
    DENSE,
    FCN,
    FLAX,
    MASKED,
    MAX,
    OURS,
    PER_SHAPE,
    RAGGED,
    Workload,
    drawn_arrays,
    drawn_model,
)
from fcnjax.padded import Padded
from fcnjax.precision import PRECISIONS
from fcnjax.training.compile.compilation import compile_for, gpu_options, jit
from fcnjax.training.step.step import make_gradient, make_train_step, split

REPEATABLE, UNREPEATABLE = "masked deterministic", "masked not deterministic"
ONE_BY_ONE, EXACT_GROUPS = "torch one by one", "torch one size a batch"
TORCH_DENSE, TORCH_COMPILE = "torch dense", "torch compile"
# In order of importance; the arms of a group are compiled together.
GROUPS = (
    (DENSE, MASKED, RAGGED),
    (TORCH_COMPILE,),
    (TORCH_DENSE,),
    (OURS, FLAX, REPEATABLE, UNREPEATABLE),
    (MAX, PER_SHAPE),
    (EXACT_GROUPS,),
    (ONE_BY_ONE,),
)
ARMS = tuple(name for group in GROUPS for name in group)
TORCH_ARMS = (TORCH_DENSE, TORCH_COMPILE, EXACT_GROUPS, ONE_BY_ONE)
FCN_ON_CPU = (OURS, DENSE, MAX, PER_SHAPE, ONE_BY_ONE, EXACT_GROUPS, TORCH_DENSE)
UNMASKED = (DENSE, PER_SHAPE)


def default_arms(work: Workload) -> tuple[str, ...]:
    """Returns the names of the arms that suit the network and the device, in order of importance.

    `torch compile` is left out on a CPU, where it takes minutes and needs a C++ compiler; networks that flax's arm does
    not have, and the determinism that the workload already has, are left out everywhere.
    """
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and work.network == FCN:
        return tuple(name for name in ARMS if name in FCN_ON_CPU)
    left_out = {REPEATABLE if work.deterministic else UNREPEATABLE}
    left_out |= {REPEATABLE, UNREPEATABLE, TORCH_COMPILE} if on_cpu else set()
    left_out |= set() if work.network in DEPTHS else {FLAX}
    return tuple(name for name in ARMS if name not in left_out)


@dataclasses.dataclass
class ReadyArm:
    """An arm that can take its turns.

    Attributes:
        run: trains for that many steps and waits.
        stretch: the batches of a turn.
        flops: model operations of a turn, see `Workload.train_flops`.
        compile_s: mean seconds of a compilation, see `CompiledPrograms`; None if unknown.
        memory_bytes: memory on the device while it trains; None if unknown.
        threads: number of CPU threads of PyTorch; None for JAX.
    """

    run: TimedProgram
    stretch: Stretch
    flops: float
    compile_s: float | None = None
    memory_bytes: int | None = None
    threads: int | None = None

    def turn(self, times: int = 1) -> None:
        """Trains on all batches of the stretch."""
        self.run(times * len(self.stretch.steps))


class ArmMaker:
    """Prepares arms, and keeps what they share: programs, weights, and PyTorch.

    Args:
        work: what is trained.
    """

    def __init__(self, work: Workload):
        self.work, self.compiled = work, CompiledPrograms()
        graphdef, _, _ = split(work.model)
        step, settings = make_train_step(make_gradient(graphdef), OPTIMIZER), work.compile_settings
        other = dataclasses.replace(settings, deterministic=not settings.deterministic)
        self._drawn: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
        self._jitted = {True: jit(step, (0,), settings=settings), False: jit(step, (0,), settings=other)}

    @cached_property
    def torch(self) -> tuple[Any, str] | str:
        """PyTorch and its device, or a sentence on why it cannot be used."""
        return find_torch()

    @property
    def torch_note(self) -> str:
        """How PyTorch ran, or why it did not."""
        return self.torch if isinstance(self.torch, str) else f"PyTorch {self.torch[0].__version__}, eager"

    def prepare(self, names: Sequence[str], notes: dict[str, str], limit: float | None = None) -> dict[str, ReadyArm]:
        """Returns those of the arms that can run; for each of the others, `notes` gets the reason.

        Args:
            names: the arms.
            notes: gets the reasons.
            limit: seconds that the compilation of their programs may take; None: no limit.
        """
        ready, waiting, jobs = {}, {}, {}
        for name in names:
            try:
                if name in TORCH_ARMS:
                    ready[name] = self._torch_arm(name)
                else:
                    waiting[name] = arm = self._flax_arm() if name == FLAX else self._our_arm(name)
                    jobs |= arm.jobs
            except Exception as error:  # one arm must not cost the others
                notes[name] = describe_error(error)
        errors = self.compiled.compile(jobs, ", ".join(waiting), limit)
        for name, arm in waiting.items():
            try:
                for key in arm.jobs:
                    if key in errors:
                        raise errors[key]
                ready[name] = arm.ready(self.compiled, self.work.train_flops(arm.stretch))
            except Exception as error:
                notes[name] = describe_error(error)
        return {name: ready[name] for name in names if name in ready}

    def programs(self, name: str) -> int:
        """Returns the number of programs that JAX compiles for an arm."""
        if name in TORCH_ARMS:
            return 0
        stretch = self.work.stretches.get(name, self.work.stretches[MASKED])
        return len({rows.program for rows in stretch.steps})

    def _draw(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Returns images and labels, drawn once for each shape."""
        if rows.program not in self._drawn:
            self._drawn[rows.program] = self.work.draw(rows)
        return self._drawn[rows.program]

    def _our_arm(self, name: str) -> "_JaxArm":
        stretch = self.work.stretches.get(name, self.work.stretches[MASKED])
        usual = name not in (REPEATABLE, UNREPEATABLE)
        unmasked, placed = name in UNMASKED, {}
        for rows in stretch.steps:
            if id(rows) not in placed:
                images, labels = (jnp.asarray(array) for array in self._draw(rows))
                sizes = jnp.asarray(rows.sizes)
                batch = UnmaskedBatch.of(images) if unmasked else Padded(images, sizes).with_zero_padding()
                placed[id(rows)] = step_inputs(batch, labels)
        family = "unmasked" if unmasked else "masked" if usual else name
        steps = [((family, *rows.program), placed[id(rows)]) for rows in stretch.steps]
        return _JaxArm(stretch, self._jitted[usual], self.work.state(), steps)

    def _flax_arm(self) -> "_JaxArm":
        work, stretch = self.work, self.work.stretches[FLAX]
        if work.network not in DEPTHS:
            raise ValueError(f"network={work.network}: must be one of {', '.join(DEPTHS)} for the arm {FLAX!r}.")
        shape = {"classes": work.classes, "in_channels": work.in_channels, "dtype": work.dtype}
        step, shapes = make_flax_step(work.network, optimizer=OPTIMIZER, **shape)

        def precise(*args: Any) -> Any:
            with jax.default_matmul_precision(PRECISIONS[work.precision]):
                return step(*args)

        weights, statistics = jax.tree.map(jnp.asarray, drawn_arrays(shapes))
        inputs = tuple(map(jnp.asarray, self._draw(stretch.steps[0])))
        steps = [((FLAX, *rows.program), inputs) for rows in stretch.steps]
        jitted = jax.jit(precise, donate_argnums=0, compiler_options=gpu_options(work.compile_settings))
        return _JaxArm(stretch, jitted, (weights, statistics, OPTIMIZER.init(weights)), steps)

    def _torch_arm(self, name: str) -> ReadyArm:
        if isinstance(self.torch, str):
            raise ValueError(self.torch)
        work, few, (torch, device) = self.work, self.work.few_steps, self.torch
        whole, ours = work.stretches[DENSE], work.stretches[OURS]
        alone = few if work.network == FCN else 1  # steps that train one example at a time
        stretch = {
            ONE_BY_ONE: ours._replace(steps=ours.steps[:: -(-len(ours.steps) // alone)]),
            EXACT_GROUPS: of_one_size(work.sizes, work.pixel_budget, 2 * few),
            TORCH_DENSE: whole._replace(steps=whole.steps[:few]),
            TORCH_COMPILE: whole._replace(steps=whole.steps[:few]),
        }[name]
        before = _torch_memory(torch, device)
        steps = one_by_one(stretch) if name == ONE_BY_ONE else [[rows] for rows in stretch.steps]
        batches = [[self._draw(rows) for rows in step] for step in steps]
        options: dict[str, Any] = {"rate": RATE, "momentum": MOMENTUM, "dtype": work.dtype, "precision": work.precision}
        options |= {"tuned": name in (TORCH_DENSE, TORCH_COMPILE), "compiled": name == TORCH_COMPILE}
        step = TorchStep(torch, device, self._torch_network(torch), batches, **options)
        if device == "cpu" and work.network == FCN and name != TORCH_COMPILE:
            step.choose_threads()
        arm = ReadyArm(step.run, stretch, work.train_flops(stretch), threads=step.threads)
        arm.turn()  # compiles, and lets cuDNN choose its algorithms
        if device != "cpu":
            arm.memory_bytes = torch.cuda.max_memory_allocated() - before
        return arm

    def _torch_network(self, torch: Any) -> Any:
        if self.work.network == FCN:
            return torch_twin(torch, drawn_model(self.work.model))
        return torchvision_network(self.work.network, self.work.classes)


@dataclasses.dataclass
class _JaxArm:
    """An arm in JAX before it is compiled.

    Attributes:
        stretch: the batches of a turn.
        jitted: the step, jitted.
        state: its initial state.
        steps: the key of the program and the inputs of each step.
    """

    stretch: Stretch
    jitted: Any
    state: Any
    steps: Sequence[tuple[Hashable, tuple[Any, ...]]]

    @property
    def jobs(self) -> dict[Hashable, Callable[[], Any]]:
        """What compiles each program, by its key."""
        return {key: partial(compile_for, self.jitted, self.state, *inputs) for key, inputs in dict(self.steps).items()}

    def ready(self, compiled: CompiledPrograms, flops: float) -> ReadyArm:
        """Returns the arm with its compiled programs; `flops` is the model's work of a turn."""
        step = JaxStep(self.state, [(compiled.programs[key], inputs) for key, inputs in self.steps])
        keys = {key for key, _ in self.steps}
        mean_s = float(np.mean([compiled.seconds[key] for key in keys]))
        arm = ReadyArm(step.run, self.stretch, flops, mean_s, compiled.bytes(keys))
        arm.turn()  # allocates
        return arm


def describe_error(error: Exception) -> str:
    """Returns the type and the first line of an error."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if type(error) is ValueError else f"{type(error).__name__}: {lines[0]}"


def _torch_memory(torch: Any, device: str) -> int:
    """Returns the bytes that PyTorch holds, and starts its record of the peak again."""
    if device == "cpu":
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()
