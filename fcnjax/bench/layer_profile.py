"""Where the time of a step goes: milliseconds by kind of layer, in our compiled program and in eager PyTorch.

Our operations carry the names of the layers that they come from; XLA gives some of its own copies none. PyTorch's are
attributed by the name of the operation; its sums of residual blocks count as the optimizer's. `Pointwise` counts as a
convolution in both. Operations that run at the same time count with their own time each.
"""

import collections
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData

from fcnjax.table_style import tight_table

OPTIMIZER, UNNAMED = "optimizer", "copies"
KINDS = (
    *("Convolution", "TransposedConvolution", "Pointwise", "BatchNorm", "LayerNorm", "Activation", "MaxPool"),
    *("AveragePool", "SqueezeExcite", "LayerScale", "Residual", "StochasticDepth", "ChannelDropout", "Upsample"),
)
_KIND = re.compile(rf"\b({'|'.join(KINDS)})\b")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?op_name=\"([^\"]*)\"", re.MULTILINE)
_TORCH_KINDS = {  # parts of the names of PyTorch's operations; the first that occurs counts
    "conv_transpose": "TransposedConvolution",
    "conv": "Convolution",
    "batch_norm": "BatchNorm",
    "layer_norm": "LayerNorm",
    "max_pool": "MaxPool",
    "avg_pool": "AveragePool",
    "mm": "Convolution",
    "relu": "Activation",
    "threshold": "Activation",
    "clamp_min_": "Activation",
    "gelu": "Activation",
    "silu": "Activation",
    "Optimizer": OPTIMIZER,
    "aten::mul_": OPTIMIZER,  # the network itself multiplies out of place, and adds in place in `Residual` only
    "aten::add_": OPTIMIZER,
    "copy_": UNNAMED,
}


def ours_by_kind(program: Any, run: Callable[[int], None], steps: int) -> dict[str, float]:
    """Returns the milliseconds of a step by kind of layer.

    Args:
        program: the compiled program.
        run: runs that many steps of it.
        steps: number of steps to average over.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run(steps)
        (path,) = Path(folder).rglob("*.xplane.pb")
        profile = ProfileData.from_file(str(path))
        events = [event for plane in profile.planes for line in plane.lines for event in line.events]
        return _summed(program.as_text(), [(event.name, event.duration_ns / 1e6 / steps) for event in events])


def _summed(text: str, events: list[tuple[str, float]]) -> dict[str, float]:
    """Returns the time of events by kind; only those count whose names are instructions of a program."""
    names = dict(_INSTRUCTION.findall(text))
    known = set(re.findall(r"^\s*(?:ROOT )?%?([\w.\-]+) = (?!.*\b(?:while|call|conditional)\()", text, re.MULTILINE))
    total = collections.defaultdict[str, float](float)
    for name, milliseconds in events:
        if name in known:
            total[_kind(names.get(name))] += milliseconds
    return dict(total)


def _kind(op_name: str | None) -> str:
    if not op_name:
        return UNNAMED
    found = _KIND.findall(op_name)
    if found and found[-1] == "Pointwise":
        return "Convolution"
    return found[-1] if found else OPTIMIZER if op_name.count("/") < 2 else "other"


def torch_by_kind(torch: Any, run: Callable[[int], None], steps: int) -> dict[str, float]:
    """Returns the milliseconds of a step in PyTorch, by kind of layer."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run(steps)
    total = collections.defaultdict[str, float](float)
    for event in profile.key_averages():
        kind = next((kind for part, kind in _TORCH_KINDS.items() if part in event.key), "other")
        total[kind] += event.self_cpu_time_total / 1e3 / steps
    return dict(total)


def profile_table(title: str, by_arm: Mapping[str, Mapping[str, float]]) -> Any:
    """Returns a table of milliseconds, a row per kind of layer and a column per arm, longest first."""
    table = tight_table("", *by_arm, title=title)
    kinds = {kind for times in by_arm.values() for kind in times}
    for kind in sorted(kinds, key=lambda kind: -max(times.get(kind, 0) for times in by_arm.values())):
        table.add_row(kind, *(f"{times.get(kind, 0):.1f}" for times in by_arm.values()))
    table.add_section()
    table.add_row("sum", *(f"{sum(times.values()):.1f}" for times in by_arm.values()))
    return table
