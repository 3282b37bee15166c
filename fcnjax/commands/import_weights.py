"""`fcnjax import-weights`: turns weights of PyTorch into a model folder."""

import os
from collections.abc import Sequence

from absl import flags

from fcnjax.commands.command_line import parse, required
from fcnjax.training import import_weights


def run(argv: Sequence[str]) -> None:
    """Turn weights of torchvision or timm (.safetensors, .npz, .pt, ...) into a model folder."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("from", None, "File of a state dict or a checkpoint.", flag_values=values)
        flags.DEFINE_string("arch", None, "Network of the weights, such as resnet50.", flag_values=values)
        to = "New folder (default: the path of the file without its ending)."
        flags.DEFINE_string("to", None, to, flag_values=values)
        flags.DEFINE_bool("ema", False, "Whether to take the averaged weights of a checkpoint.", flag_values=values)
        classes = "File of the names of the classes, one a line (default: those of the hub's config, or numbers)."
        flags.DEFINE_string("classes", None, classes, flag_values=values)
        hub = "config.json of a model hub (default: the one beside the weights, if any)."
        flags.DEFINE_string("hub_config", None, hub, flag_values=values)
        check = "File .npz of images and the logits, or features, that PyTorch computed of them, to compare with."
        flags.DEFINE_string("check", None, check, flag_values=values)

    given = parse(argv, define)
    source = required(given["from"].value, "from", "resnet50.safetensors")
    arch, to = required(given.arch, "arch", "resnet50"), given.to or os.path.splitext(source)[0]
    options = {name: given[name].value for name in ("ema", "classes", "hub_config", "check")}
    made = import_weights(source, arch, to, **options)
    print(f"{arch}: {made.parameters:,} parameters, {len(made.classes) or 'no'} classes")
    for note in made.notes:
        print(f"  {note}")
    print(f"folder {made.path}")
