"""`fcnjax data`: what a data set holds, and what is wrong with it, without training."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence

from absl import flags

from fcnjax.commands.command_line import UsageError, known_flags, parse, read_recipe
from fcnjax.commands.overrides import last_value
from fcnjax.commands.train import chosen_fields, configured
from fcnjax.data import Source
from fcnjax.data.overview import DataOverview, measure_moments, overview_text
from fcnjax.training import Recipe, load_sources
from fcnjax.training.build import data_title, fit_sources, overview_of
from fcnjax.training.from_data import choose_config
from fcnjax.training.from_data.choice import fit_minimum
from fcnjax.training.settings.data_settings import DataSettings

MEASURED = 10_000  # examples of which mean and deviation are measured: of more, the fourth digit hardly changes


def run(argv: Sequence[str]) -> None:
    """Say what a data set holds and what is wrong with it; draw examples, measure mean and std."""
    named = {argument.lstrip("-").partition("=")[0] for argument in argv if argument.startswith("-")}
    early = known_flags(argv, _define)
    if early.data is None and not named & {"config", "help", "h"}:
        raise UsageError("give --data=FOLDER, --data=FILE.npz, or --config=configs/digits.py: the data to look at.")
    from_data = early.data is not None and not named & {"config", "help", "h"}
    given = early if from_data else parse(argv, _define, config="")
    settings, sources = _chosen(given.data, argv) if from_data else _loaded(configured(given))
    overview, title = overview_of(settings, sources, thorough=True), data_title(settings)
    print(overview_text(overview, title))
    sys.stdout.flush()
    if given.show is not None:
        from fcnjax.data.overview.contact_sheet import contact_sheet  # here: it imports matplotlib
        from fcnjax.figure_style import save_figure

        print(f"\npicture {save_figure(contact_sheet(sources['train'], title), given.show, 'show')}")
    if given.measure:
        measured = measure_moments(sources["train"], MEASURED, progress=True)
        mean, std = (f"'{value}'" if isinstance(value, tuple) else str(value) for value in measured[:2])
        count = f"{measured.examples:,} of {len(sources['train']):,} training examples"
        print(f"\nof {count}: --config.data.mean={mean} --config.data.std={std}")
    _refuse(overview, settings)


def _chosen(data: str, argv: Sequence[str]) -> tuple[DataSettings, Mapping[str, Source]]:
    """Returns the settings of data without a config, and its splits at the sizes at which training would see them."""
    asked = chosen_fields(argv)
    lenient = {"on_error": "mask", "absent_classes": "allow", "leakage": "ignore"}
    choice = choose_config(data, init_from=last_value("--config.init_from", argv), fields=asked | lenient, verify=True)
    recipe = read_recipe(parse(argv, _define, choice.config).config)
    defaults = {name: getattr(DataSettings, name) for name in lenient}
    settings = dataclasses.replace(recipe.data, **{name: asked.get(name, defaults[name]) for name in lenient})
    return settings, fit_sources(fit_minimum(recipe, {}, choice), choice.sources)


def _loaded(recipe: Recipe) -> tuple[DataSettings, Mapping[str, Source]]:
    """Returns the settings of a config's data, and its splits without the examples that cannot be read."""
    lenient = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, on_error="mask"))
    return recipe.data, load_sources(lenient, verify=True)


def _refuse(overview: DataOverview, settings: DataSettings) -> None:
    """Raises ValueError if training would refuse the data."""
    overview.refuse(settings.absent_classes, settings.leakage)
    count = sum(each.count for each in overview.unreadable)
    if count and settings.on_error == "refuse":
        what = "1 cannot" if count == 1 else f"{count:,} cannot"
        raise ValueError(
            f"config.data.on_error=refuse: every example must be readable, and {what} be used; repair or remove what "
            "is left out, or train without it with config.data.on_error=mask."
        )


def _define(values: flags.FlagValues) -> None:
    data = "Folder with a folder for each class, or .npz file. With --config, its data."
    flags.DEFINE_string("data", None, data, flag_values=values)
    show = "Also draw a few training examples of each class, as the network sees them, to this file, such as sheet.png."
    flags.DEFINE_string("show", None, show, flag_values=values)
    measure = f"Also measure mean and std of the training examples, of at most {MEASURED:,}, as flags for training."
    flags.DEFINE_bool("measure", False, measure, flag_values=values)
