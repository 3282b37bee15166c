"""`fcnjax import-weights`: turns a PyTorch state dict into a folder of fcnjax."""

import os
from collections.abc import Sequence

from absl import flags

from fcnjax.commands.command_line import parse, required
from fcnjax.layers.layer import parameter_count
from fcnjax.training import import_weights


def run(argv: Sequence[str]) -> None:
    """Turn a PyTorch state dict (.safetensors, .npz, .pt) into a folder for training.load_imported."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("from", None, "File of the state dict.", flag_values=values)
        flags.DEFINE_string("arch", None, "Network of the state dict, such as resnet50.", flag_values=values)
        to = "New folder (default: the path of the file without its ending)."
        flags.DEFINE_string("to", None, to, flag_values=values)

    given = parse(argv, define)
    source = required(given["from"].value, "from", "resnet50.safetensors")
    arch, to = required(given.arch, "arch", "resnet50"), given.to or os.path.splitext(source)[0]
    model = import_weights(source, arch, to)
    print(f"{arch}: {parameter_count(model):,} parameters")
    print(f"folder {to}")
