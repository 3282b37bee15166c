"""The time of a train step and of an evaluation of each registered network, compared with eager PyTorch.

Our network runs with all its masks on a batch of different sizes. PyTorch's (`torch_twin.py`) has the same layers and
weights, and computes the padded batch without masks. A third arm is our network as an accelerator gets it, with the
convolutions of JAX's library.

Axes: B batch, H height, W width, C channels, K classes.
"""

import dataclasses
import functools
import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.table import Table

from fcnjax import models
from fcnjax.bench.jax_step import MOMENTUM, RATE, JaxStep, make_step, step_inputs
from fcnjax.bench.layer_profile import ours_by_kind, profile_table, torch_by_kind
from fcnjax.bench.report import ratio, rounds_field
from fcnjax.bench.timing import TimedProgram, take_turns
from fcnjax.bench.torch_step import TorchStep, find_torch
from fcnjax.bench.torch_twin import torch_twin
from fcnjax.bench.workload import drawn_model
from fcnjax.naming import joined, unknown_name
from fcnjax.padded import Padded
from fcnjax.progress import progress_bar
from fcnjax.table_style import tight_table
from fcnjax.training.compile.compilation import CompileSettings, compile_options, core_count
from fcnjax.training.run.run_folder import environment
from fcnjax.training.step.step import merge, split
from fcnjax.xla import compiling_for

ROUNDS, STEPS = 7, 3  # turns of each timed program, and steps in a turn
CLASSES = 100
OURS, LIBRARY, TORCH = "ours", "library", "torch"
TRAIN, EVALUATION = "train", "evaluate"
SHAPES = {  # examples and extent of the images, by network
    "efficientnet_b0": (8, 128),
    "fcn": (64, 48),
    "fcn8s": (2, 64),
    "fcn32s": (2, 64),
    "nin": (32, 32),
    "all_cnn_c": (32, 32),
    "resnet18": (16, 96),
    "resnet34": (16, 96),
    "resnet50": (8, 128),
    "resnet_cifar": (64, 32),
}
OTHERS = (4, 96)  # ConvNeXt


@dataclasses.dataclass(frozen=True)
class NetworkWork:
    """A network and its batch.

    Attributes:
        network: name in `fcnjax.models.MODELS`.
        batch_size: B, at least 1.
        extent: H and W of the batch; its examples have extents from half of that, and from 33 if it is that large.
    """

    network: str
    batch_size: int
    extent: int

    @classmethod
    def of(cls, network: str) -> "NetworkWork":
        """Returns the network with the batch that `SHAPES` names.

        Raises:
            ValueError: if the network is unknown.
        """
        if network not in models.MODELS:
            raise ValueError(unknown_name("network", network, models.MODELS))
        return cls(network, *SHAPES.get(network, OTHERS))

    def model(self) -> models.Classifier:
        """Returns the network, for RGB images and `CLASSES` classes, with the weights of `drawn_model`."""
        make = functools.partial(models.create, self.network, classes=CLASSES, in_channels=3)
        return drawn_model(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns images float32 [B, H, W, C], sizes int32 [B, 2] and labels int32 [B]."""
        rng, extents = np.random.default_rng(0), (self.extent, self.extent)
        images = rng.normal(size=(self.batch_size, *extents, 3)).astype(np.float32)
        least = min(max(self.extent // 2, 33), self.extent)
        sizes = rng.integers(least, self.extent + 1, (self.batch_size, 2)).astype(np.int32)
        sizes[0] = extents
        return images, sizes, rng.integers(0, CLASSES, self.batch_size).astype(np.int32)


def measure(
    networks: Sequence[str] = (),
    rounds: int = ROUNDS,
    save: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """Measures networks, one after another.

    Args:
        networks: names in `fcnjax.models.MODELS`; default: all.
        rounds: turns of each timed program, at least 1, after a first turn that only warms up.
        save: called after each network with the result so far.

    Returns:
        The result that `fcnjax bench networks --json` writes: for each network, times and ratios of the train step and
        of the evaluation, and seconds of compilation; device and versions.

    Raises:
        ValueError: if a network is unknown, `rounds` is below 1, or JAX does not compute on a CPU.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: must be at least 1.")
    _check_device()
    works = [NetworkWork.of(name) for name in networks or models.MODELS]
    found = find_torch()
    result: dict[str, Any] = {
        "networks": {},
        "torch_note": found if isinstance(found, str) else f"PyTorch {found[0].__version__}, eager",
        "rounds": rounds,
        "steps_per_round": STEPS,
        "threads": core_count(),
        **environment(CompileSettings()),
    }
    with progress_bar(works, "networks", unit=" networks") as bar:
        for work in bar:
            bar.set_postfix_str(work.network)
            result["networks"][work.network] = measure_network(work, rounds, found)
            save(result)
            gc.collect()
    return result


def measure_network(work: NetworkWork, rounds: int, found: tuple[Any, str] | str) -> dict[str, Any]:
    """Returns times, ratios and seconds of compilation of one network; `found` is what `find_torch` returns."""
    fields: dict[str, Any] = {"batch": [work.batch_size, work.extent, work.extent], "compile_s": {}}
    model = work.model()
    for phase in (TRAIN, EVALUATION):
        programs = dict[str, TimedProgram]()
        for arm in (OURS, LIBRARY):
            begun = time.perf_counter()
            _, programs[arm] = _jax_program(work, model, phase, arm)
            fields["compile_s"][f"{phase} {arm}"] = time.perf_counter() - begun
        if not isinstance(found, str):
            programs[TORCH] = _torch_program(work, model, phase, *found)
        times = take_turns(programs, rounds, STEPS)
        ratios = {f"{other}_over_ours": ratio(times[other], times[OURS])._asdict() for other in times if other != OURS}
        fields[phase] = {"milliseconds": rounds_field(times), **ratios}
    return fields


def profile_network(work: NetworkWork) -> Table:
    """Returns a table of where the time of a train step goes, in our network and in PyTorch's.

    Raises:
        ValueError: if JAX does not compute on a CPU.
    """
    _check_device()
    model, found = work.model(), find_torch()
    program, run = _jax_program(work, model, TRAIN, OURS)
    run(STEPS)  # warms up
    times = {"ours, ms": ours_by_kind(program, run, STEPS)}
    if not isinstance(found, str):
        run = _torch_program(work, model, TRAIN, *found)
        run(STEPS)
        times["PyTorch, ms"] = torch_by_kind(found[0], run, STEPS)
    batch = joined((work.batch_size, work.extent, work.extent))
    return profile_table(f"{work.network}, {batch}, train step, float32, {core_count()} threads", times)


def _jax_program(work: NetworkWork, model: models.Classifier, phase: str, arm: str) -> tuple[Any, TimedProgram]:
    """Returns a compiled program of ours, with the library's convolutions for that arm, and what runs it."""
    images, sizes, labels = map(jnp.asarray, work.draw())
    batch = Padded(images, sizes).with_zero_padding()
    platform = "cpu" if arm == OURS else "gpu"  # the library's convolutions are what an accelerator gets
    step, state = make_step(model)
    evaluate, inputs = _evaluation(model), step_inputs(batch, labels)
    jitted = functools.partial(jax.jit, compiler_options=compile_options())
    with compiling_for(platform):
        if phase == TRAIN:
            program = jitted(step, donate_argnums=0).lower(state, *inputs).compile()
            return program, JaxStep(state, [(program, inputs)]).run
        program = jitted(evaluate).lower(state.weights, state.statistics, batch).compile()

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(program(state.weights, state.statistics, batch))

    return program, run


def _check_device() -> None:
    device = jax.default_backend()
    if device != "cpu":
        raise ValueError(
            f"device {device}: must be a CPU (JAX_PLATFORMS=cpu); 'fcnjax bench train --network=NAME' measures others."
        )


def _evaluation(model: models.Classifier) -> Callable[..., jax.Array]:
    graphdef, _, _ = split(model)
    return lambda weights, statistics, batch: merge(graphdef, weights, statistics)(batch)


def _torch_program(work: NetworkWork, model: models.Classifier, phase: str, torch: Any, device: str) -> TimedProgram:
    """Returns PyTorch's train step or evaluation of the whole batch, on the threads that XLA uses."""
    network, (images, _, labels) = torch_twin(torch, model), work.draw()
    if phase == TRAIN:
        return TorchStep(torch, device, network, [[(images, labels)]], rate=RATE, momentum=MOMENTUM).run
    network, values = network.eval(), torch.tensor(np.moveaxis(images, -1, 1).copy())

    def run(steps: int) -> None:
        torch.set_num_threads(core_count())
        with torch.no_grad():
            for _ in range(steps):
                network(values)

    return run


def table(result: dict[str, Any]) -> Table:
    """Returns the result of `measure` as a table, a row per network and phase, that fits 80 columns."""
    title = f"{result['devices']}, {result['threads']} threads, {result['rounds']} rounds, float32, milliseconds"
    headings = ("network", "batch", "", OURS, "PyTorch", "ratio", "quartiles", LIBRARY)
    shown = tight_table(*headings, title=title, left=3)
    for name, fields in result["networks"].items():
        for phase in (TRAIN, EVALUATION):
            times, first = fields[phase]["milliseconds"], phase == TRAIN
            ours, theirs = (f"{times[arm]['median']:.1f}" if arm in times else "-" for arm in (OURS, TORCH))
            about = (name, joined(fields["batch"])) if first else ("", "")
            library = f"{fields[phase][f'{LIBRARY}_over_{OURS}']['median']:.2f}"
            shown.add_row(*about, phase, ours, theirs, *_ratio(fields[phase].get(f"{TORCH}_over_{OURS}")), library)
    note = result["torch_note"].rstrip(".")
    shown.caption = f"{note}. ratio: time of PyTorch over ours; library: of the library's convolutions over ours."
    return shown


def _ratio(spread: dict[str, float] | None) -> tuple[str, str]:
    """Returns the median and the quartiles as text."""
    return ("-", "-") if spread is None else (f"{spread['median']:.2f}", f"{spread['low']:.2f}-{spread['high']:.2f}")
