"""The cost of a train step: with and without masks, and compared with the same step in plain JAX and in PyTorch.

The step is the one that training runs, for a stack of halving convolutions like the forum thread's. Plain JAX is timed
twice: in its own process, as a program without this library runs it, and in this process, where freed memory is kept
(`fcnjax.training.compile.freed_memory`) and our XLA flags are set (`fcnjax.xla`). Both are part of what makes our step
faster.

Axes: B batch, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.table import Table

from fcnjax import models
from fcnjax.bench.baselines import make_plain_step
from fcnjax.bench.jax_step import MOMENTUM, OPTIMIZER, RATE, JaxStep, make_step, step_inputs
from fcnjax.bench.report import Quantity, quantity_fields, ratio, report_table, rounds_field
from fcnjax.bench.timing import InOwnProcess, TimedProgram, take_turns
from fcnjax.bench.torch_step import TorchStep, find_torch
from fcnjax.bench.torch_twin import torch_twin
from fcnjax.bench.unmasked import UnmaskedBatch
from fcnjax.naming import joined
from fcnjax.padded import Padded
from fcnjax.precision import PRECISIONS
from fcnjax.training.compile.compilation import CompileSettings, core_count, gpu_options, jit
from fcnjax.training.run.run_folder import environment

ROUNDS = 15  # turns of each timed program
STEPS = 20  # steps in a turn; the first one starts with the caches that the previous program left
MEMORY = ("temp_size_in_bytes", "output_size_in_bytes", "argument_size_in_bytes")  # of XLA's memory analysis
QUANTITIES = {
    "mask_time_ratio": Quantity("time, masks / none", "at most 1.10"),
    "mask_memory_ratio": Quantity("memory, masks / none", "at most 1.10"),
    "step_vs_plain_xla": Quantity("time, plain JAX alone / ours", "at least 2.5"),
    "step_vs_plain_here": Quantity("time, plain JAX / ours"),
    "step_vs_torch": Quantity("time, ours / PyTorch", "at most 1.2"),
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """The network and the batch that are measured: a stack like the thread's, with global average pooling first.

    Attributes:
        batch_size: B, at least 1.
        size: (H, W), the padded shape of the batch; its examples have extents from half of that to all of it.
        in_channels: C of the images.
        kernel: extent of the convolutions' kernels; their stride is 2.
        channels: channels of each halving block.
        classes: number of classes.
        dtype: dtype of the computation, "float32" or "bfloat16"; weights are float32.
        precision: how float32 products are computed, "float32" or "tf32" (see `fcnjax.precision`), in all steps.
    """

    batch_size: int = 64
    size: tuple[int, ...] = (48, 48)
    in_channels: int = 3
    kernel: int = 3
    channels: tuple[int, ...] = (32, 64, 128)
    classes: int = 10
    dtype: str = "float32"
    precision: str = "float32"

    def model(self) -> models.Classifier:
        """Returns the network."""
        options = {name: getattr(self, name) for name in ("in_channels", "kernel", "channels", "classes", "dtype")}
        return models.create("fcn", head={"pool_at": 0}, rngs=nnx.Rngs(0), **options)

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns images float32 [B, H, W, C], sizes int32 [B, 2] (the first is the padded shape), and labels [B]."""
        model = self.model()
        model.check_sizes(np.array([self.size]))
        rng = np.random.default_rng(0)
        images = rng.normal(size=(self.batch_size, *self.size, self.in_channels)).astype(np.float32)
        half = np.maximum((np.array(self.size) + 1) // 2, model.min_size)
        sizes = rng.integers(half, np.array(self.size) + 1, (self.batch_size, 2)).astype(np.int32)
        sizes[0] = self.size
        return images, sizes, rng.integers(0, self.classes, self.batch_size).astype(np.int32)


def make_jax_steps(work: Workload, names: Sequence[str] = ("masked", "unmasked", "plain")) -> dict[str, JaxStep]:
    """Returns the compiled steps with those names, which start from the same weights.

    "masked" is the step as training runs it, on examples of different sizes; "unmasked" is the same step without any
    mask, on examples that fill the batch; "plain" is the step of `make_plain_step`, with XLA's defaults on a CPU.
    """
    step, state = make_step(work.model())
    images, sizes, labels = map(jnp.asarray, work.draw())
    settings = CompileSettings(precision=work.precision)
    ours, options = jit(step, donate=(0,), settings=settings), gpu_options(settings)
    plain = jax.jit(make_plain_step(OPTIMIZER, work.dtype), donate_argnums=0, compiler_options=options)
    calls = {
        "masked": (ours, step_inputs(Padded(images, sizes).with_zero_padding(), labels)),
        "unmasked": (ours, step_inputs(UnmaskedBatch.of(images), labels)),
        "plain": (plain, (images, labels)),
    }
    with jax.default_matmul_precision(PRECISIONS[work.precision]):  # for the plain step
        return {
            name: JaxStep(state, [(jitted.lower(state, *inputs).compile(), inputs)])
            for name, (jitted, inputs) in calls.items()
            if name in names
        }


def run_plain(work: Workload) -> TimedProgram:
    """Returns the timed program of the step "plain"."""
    return make_jax_steps(work, ("plain",))["plain"].run


def make_torch_step(work: Workload) -> TorchStep | str:
    """Returns PyTorch's step of the same network on JAX's kind of device, or a sentence on why it cannot run."""
    found = find_torch()
    if isinstance(found, str):
        return found
    images, _, labels = work.draw()
    options = {"dtype": work.dtype, "precision": work.precision, "rate": RATE, "momentum": MOMENTUM}
    return TorchStep(*found, torch_twin(found[0], work.model()), [[(images, labels)]], **options)


def measure(work: Workload, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measures all steps side by side.

    Args:
        work: what to measure.
        rounds: turns of each timed program, at least 1, after a first turn that only warms up.

    Returns:
        The result that `fcnjax bench layers --json` writes: the `QUANTITIES` (medians over the rounds of each round's
        ratio, None without PyTorch), their quartiles, milliseconds and bytes of each step, device and versions.

    Raises:
        ValueError: if `rounds` is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: must be at least 1.")
    steps, torch_step = make_jax_steps(work), make_torch_step(work)
    programs: dict[str, TimedProgram] = {name: step.run for name, step in steps.items()}
    if isinstance(torch_step, TorchStep):
        programs["torch"] = torch_step.run
    with InOwnProcess(run_plain, work) as alone:
        times = take_turns(programs | {"plain alone": alone}, rounds, STEPS, "measuring")
    memory = {name: _memory(step) for name, step in steps.items()}
    ratios = {
        "mask_time_ratio": ("masked", "unmasked"),
        "step_vs_plain_xla": ("plain alone", "masked"),
        "step_vs_plain_here": ("plain", "masked"),
    }
    ratios |= {"step_vs_torch": ("masked", "torch")} if "torch" in times else {}
    spreads = {name: ratio(times[over], times[under]) for name, (over, under) in ratios.items()}
    return {
        **quantity_fields(QUANTITIES, spreads),
        "mask_memory_ratio": sum(memory["masked"].values()) / sum(memory["unmasked"].values()),
        "milliseconds": rounds_field(times),
        "memory": memory,
        "step_vs_torch_note": torch_step if isinstance(torch_step, str) else f"PyTorch {torch_step.version}, eager",
        "workload": dataclasses.asdict(work),
        "dtype": work.dtype,
        "precision": work.precision,
        "rounds": rounds,
        "steps_per_round": STEPS,
        "threads": core_count(),
        **environment(CompileSettings(precision=work.precision)),
    }


def _memory(step: JaxStep) -> dict[str, int]:
    """Returns the bytes that XLA plans for the program of a step, by kind."""
    analysis = step.steps[0][0].memory_analysis()  # type: ignore[attr-defined]  (a compiled program)
    return {name: getattr(analysis, name) for name in MEMORY}


def table(result: dict[str, Any]) -> Table:
    """Returns the result of `measure` as a table: the ratios with quartiles and targets, then each step's time."""
    shape = joined((result["workload"]["batch_size"], *result["workload"]["size"]))
    table = report_table(
        result,
        QUANTITIES,
        f"train step, {shape}, {result['dtype']}, products in {result['precision']}",
        "milliseconds",
        "ms",
    )
    table.caption = result["step_vs_torch_note"]
    return table
