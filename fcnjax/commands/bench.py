"""`fcnjax bench`: measurements on this machine."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console, RenderableType

from fcnjax.atomic import write_json
from fcnjax.bench import determinism, exactness, layers, native_sizes, networks, overheads
from fcnjax.bench import input as input_bench
from fcnjax.bench import train as train_bench
from fcnjax.bench.arms import ARMS
from fcnjax.bench.drawn_photographs import write_photographs
from fcnjax.bench.torch_step import leave_memory_for_torch
from fcnjax.bench.workload import FCN, Workload, image_workload
from fcnjax.commands.command_line import UsageError, parse, parse_size, read_recipe
from fcnjax.models import MODELS
from fcnjax.naming import unknown_name
from fcnjax.precision import PRECISIONS
from fcnjax.training.compile.compilation import CompileSettings

DRAWN_SPLITS = {"train_split": "all[:80%]", "validation_split": "all[80%:90%]", "test_split": "all[90%:]"}
COUNTS = {  # flags of `fcnjax bench train`; without them, the workload has its own values
    "shapes": "Maximum number of buckets (default: 16; 8 for networks other than fcn).",
    "pixel_budget": "Maximum number of positions in a batch (default: 131072; else what --batch_size needs).",
    "steps": "Batches in a turn of a timed program; slower ones get fewer (default: 32; else 16, 2 on a CPU).",
    "epochs": "Epochs that share the time of compilation (default: 30).",
}


def run(argv: Sequence[str]) -> None:
    """Measure on this machine: speed, exactness, determinism.

    Benchmarks: a train step (layers), every network beside PyTorch's (networks), waiting for data (input), training at
    native sizes (train), how far "alone equals padded" holds (exactness), whether training gives the same bits again
    (determinism).
    """
    if argv[1:2] in (["--help"], ["-h"]):
        print(f"{argv[0]} BENCHMARK [--flags]: one of {', '.join(BENCHES)}; '{argv[0]} layers --help' lists its flags.")
        return
    if len(argv) < 2 or argv[1].startswith("-"):
        raise UsageError(f"say what to measure, as in 'fcnjax bench layers'. Known: {', '.join(BENCHES)}.")
    # An internal process that `fcnjax bench train` starts and times; not in BENCHES, so that no message offers it.
    if argv[1] == overheads.FIRST_STEP:
        overheads.train_one_step(sys.stdin.read())
    if argv[1] not in BENCHES:
        raise UsageError(unknown_name("benchmark", argv[1], BENCHES))
    BENCHES[argv[1]]([f"{argv[0]} {argv[1]}", *argv[2:]])


def _layers(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        _define_json(values)
        flags.DEFINE_integer("rounds", layers.ROUNDS, "Turns of each timed program.", lower_bound=1, flag_values=values)
        flags.DEFINE_integer("batch_size", 64, "Examples in the batch.", lower_bound=2, flag_values=values)
        flags.DEFINE_string("size", "48x48", "Padded shape of the batch.", flag_values=values)
        _define_precision(values)

    given = parse(argv, define)
    leave_memory_for_torch()
    work = layers.Workload(given.batch_size, parse_size(given.size), dtype=given.dtype, precision=given.precision)
    result = layers.measure(work, given.rounds)
    _report(layers.table(result), result, given.json)


def _networks(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        _define_json(values)
        text = f"Names of networks, joined by commas, of: {', '.join(sorted(MODELS))} (default: all)."
        flags.DEFINE_string("networks", "", text, flag_values=values)
        text = "Turns of each timed program."
        flags.DEFINE_integer("rounds", networks.ROUNDS, text, lower_bound=1, flag_values=values)
        text = "Show where the time of a train step goes, by kind of layer, instead of measuring ratios."
        flags.DEFINE_bool("profile", False, text, flag_values=values)

    given = parse(argv, define)
    leave_memory_for_torch()
    names = [name.strip() for name in given.networks.split(",") if name.strip()]
    if given.profile:
        for work in [networks.NetworkWork.of(name) for name in names or MODELS]:
            Console().print(networks.profile_network(work))
        return

    def save(result: dict[str, Any]) -> None:
        if given.json:
            write_json(given.json, result)

    result = networks.measure(names, given.rounds, save)
    _report(networks.table(result), result, given.json)


def _input(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        _define_json(values)
        text = "Steps to measure; 0 measures an epoch, or 10 seconds with --images_per_s."
        flags.DEFINE_integer("steps", 0, text, lower_bound=0, flag_values=values)
        text = "Consume images at this rate instead of training, such as 6000 for ResNet-50 on a large GPU."
        flags.DEFINE_float("images_per_s", None, text, flag_values=values)
        text = "Use this many JPEG files of noise, in a temporary folder, instead of the data that the config names."
        flags.DEFINE_integer("drawn", None, text, flag_values=values)

    given = parse(argv, define, config="")
    with tempfile.TemporaryDirectory() as folder:
        if given.drawn is not None:
            write_photographs(Path(folder), given.drawn)
            given.config.data.update({"name": "image_folder", "data_dir": folder, **DRAWN_SPLITS})
        recipe = read_recipe(given.config)
        result = input_bench.measure(recipe, given.steps, examples_per_s=given.images_per_s)
    result |= {"command": " ".join(argv)}
    _report(input_bench.table(result), result, given.json)


def _train(argv: Sequence[str]) -> None:
    given = parse(argv, _define_train)
    leave_memory_for_torch()
    work = _train_workload(given)
    sizes_file = Path(given.sizes or "drawn").name
    about = {"command": " ".join(argv), "sizes_file": sizes_file, "scale": given.scale}
    arms = [name.strip() for name in given.arms.split(",")] if given.arms else None
    warm_start = work.network == FCN if given.warm_start is None else given.warm_start

    def save(result: dict[str, Any]) -> None:
        if given.json:
            write_json(given.json, result | about)

    result = train_bench.measure(work, given.rounds, arms=arms, seconds=given.seconds, warm_start=warm_start, save=save)
    _report(train_bench.table(result), result | about, given.json)
    _end_now_if(result["still_compiling"])


def _define_train(values: flags.FlagValues) -> None:
    _define_json(values)
    _define_precision(values)
    text = "Network, a name in fcnjax.models.MODELS."
    flags.DEFINE_enum("network", FCN, sorted(MODELS), text, flag_values=values)
    sizes = "CSV file of heights and widths (default: random sizes of small photographs)."
    flags.DEFINE_string("sizes", None, sizes, flag_values=values)
    text = "Factor on every extent (default: 0.4 for fcn; for other networks, the median area becomes that of --size)."
    flags.DEFINE_float("scale", None, text, lower_bound=0, flag_values=values)
    text = "Size of a dense image (default: the median size for fcn; for other networks 224x224, 96x96 on a CPU)."
    flags.DEFINE_string("size", None, text, flag_values=values)
    text = "Examples in a dense batch, which sets the pixel budget (default: 128, 8 on a CPU; not for fcn)."
    flags.DEFINE_integer("batch_size", None, text, lower_bound=2, flag_values=values)
    flags.DEFINE_string("arms", None, f"Names of arms, joined by commas, of: {', '.join(ARMS)}.", flag_values=values)
    text = "Time that all may take; arms that do not fit are left out."
    flags.DEFINE_float("seconds", train_bench.SECONDS, text, lower_bound=1, flag_values=values)
    text = "Also time the start of a training process (default: for fcn)."
    flags.DEFINE_bool("warm_start", None, text, flag_values=values)
    text = "Whether our programs give the same bits in every run."
    flags.DEFINE_bool("deterministic", CompileSettings.deterministic, text, flag_values=values)
    text = "Turns of each timed program; fewer if the time does not suffice."
    flags.DEFINE_integer("rounds", train_bench.ROUNDS, text, lower_bound=1, flag_values=values)
    for name, text in COUNTS.items():
        flags.DEFINE_integer(name, None, text, lower_bound=1, flag_values=values)


def _train_workload(given: Any) -> Workload:
    """Returns the workload that the flags of `fcnjax bench train` name, with defaults that suit network and device."""
    names = ("network", "dtype", "precision", "deterministic", *COUNTS)
    fields = {name: given[name].value for name in names if given[name].value is not None}
    image = None if given.size is None else parse_size(given.size)
    if image is not None and len(image) != 2:
        raise UsageError(f"--size={given.size}: must have a height and a width, such as 224x224.")
    if given.network == FCN:
        scale = 0.4 if given.scale is None else given.scale
        if given.batch_size is not None:
            raise UsageError(f"--batch_size={given.batch_size}: must not be given for fcn; give --pixel_budget.")
        return Workload(native_sizes.scaled_sizes(given.sizes, scale), image=image, **fields)
    return image_workload(given.sizes, given.scale, image, given.batch_size, fields)


def _exactness(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        _define_json(values)
        names = ",".join(exactness.NETWORKS)
        flags.DEFINE_list("networks", names, "Networks to compare, joined by commas.", flag_values=values)
        flags.DEFINE_bool("all", False, "Compare all networks.", flag_values=values)
        _define_seconds(values, exactness.SECONDS, "Limit; what is not compiled by then is left out.")

    given = parse(argv, define)
    networks = sorted(MODELS) if given.all else given.networks
    result = exactness.measure(networks, given.seconds, path=given.json)
    result["command"] = " ".join(argv)
    _report(exactness.table(result), result, given.json)
    _end_now_if(result["still_compiling"])


def _determinism(argv: Sequence[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        _define_json(values)
        _define_seconds(values, determinism.SECONDS, "Limit of all trainings together.")

    given = parse(argv, define, config="")
    read_recipe(given.config)  # refuses a mistake before anything is trained
    config = [argument for argument in argv if argument.startswith(("--config=", "--config."))]
    result = determinism.measure(config, given.seconds) | {"command": " ".join(argv)}
    _report(determinism.table(result), result, given.json)


def _end_now_if(still_compiling: bool) -> None:
    """Ends the process while a compilation goes on, which cannot be stopped and for which Python would wait."""
    if still_compiling:
        sys.stdout.flush()
        os._exit(0)


BENCHES: dict[str, Callable[[Sequence[str]], None]] = {
    "layers": _layers,
    "networks": _networks,
    "input": _input,
    "train": _train,
    "exactness": _exactness,
    "determinism": _determinism,
}


def _define_seconds(values: flags.FlagValues, default: float, text: str) -> None:
    flags.DEFINE_float("seconds", default, text, lower_bound=0, flag_values=values)


def _define_json(values: flags.FlagValues) -> None:
    flags.DEFINE_string("json", None, "Also write the result to this file.", flag_values=values)


def _define_precision(values: flags.FlagValues) -> None:
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Dtype of the computation.", flag_values=values)
    text = "How products of float32 arrays are computed on an accelerator."
    flags.DEFINE_enum("precision", "float32", list(PRECISIONS), text, flag_values=values)


def _report(table: RenderableType, result: dict[str, Any], path: str | None) -> None:
    """Prints the table, and writes the result as JSON if a path is given."""
    Console().print(table)
    if path:
        write_json(path, result)
