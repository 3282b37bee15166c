"""`fcnjax export-weights`: writes a trained network's weights for PyTorch."""

from collections.abc import Sequence

from absl import flags

from fcnjax.commands.command_line import parse, required
from fcnjax.training import export_weights


def run(argv: Sequence[str]) -> None:
    """Write the weights of a trained network as a state dict of torchvision or timm."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("model", None, "Finished run, or model folder.", flag_values=values)
        flags.DEFINE_string("to", None, "New file .safetensors; its config is written beside it.", flag_values=values)
        library = "Library whose network loads them: torchvision or timm (default: torchvision if it has the network)."
        flags.DEFINE_string("library", None, library, flag_values=values)
        flags.DEFINE_bool("overwrite", False, "Whether --to may name an existing file.", flag_values=values)

    given = parse(argv, define)
    model, to = required(given.model, "model", "runs/photos"), required(given.to, "to", "photos.safetensors")
    for path in export_weights(model, to, library=given.library, overwrite=given.overwrite):
        print(f"file {path}")
