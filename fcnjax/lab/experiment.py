"""An experiment: a question, the arms that answer it, and the claims that are decided about them.

All classes are frozen and validate themselves. Nothing here trains or depends on a particular experiment.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fcnjax.data import Source
from fcnjax.lab.claims import Claim, Exact
from fcnjax.naming import unknown_name
from fcnjax.training import Recipe

ChangeSources = Callable[[Mapping[str, Source], int], Mapping[str, Source]]  # (splits by name, seed) -> splits
NO_VERDICT = "no verdict"
VERDICTS = ("holds", "fails", "not decided", NO_VERDICT)
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")


def _check_slug(what: str, value: str) -> None:
    if not _SLUG.fullmatch(value):
        raise ValueError(
            f"{what}={value!r}: must be a folder name of lower-case letters, digits, '-' and '_'; "
            "start with a letter or a digit."
        )


@dataclass(frozen=True)
class Arm:
    """One variant of an experiment: its base recipe with `overrides`, trained once per draw.

    Attributes:
        name: slug that names its rows, such as `linear-gap-first`.
        title: name of the arm in tables and figures.
        overrides: value by recipe field, as a dotted path; read-only after construction.
        description: what the arm does, such as `pool -> linear 10`.
        sources: changes the splits of a draw before training, such as `lab.few_examples(200)`; None keeps them. Its
            name, its fields and the code of its module key the run: use a frozen dataclass or a function of a module.
        salt: 0, or another number for an arm that repeats another one with other seeds (an A/A arm).
        control: whether the arm is broken on purpose; the report lists it apart.
        settings: names of the settings in which the arm is trained; empty for all.

    Raises:
        ValueError: if `name` is not a slug or `title` is empty.
    """

    name: str
    title: str
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)
    description: str = ""
    sources: ChangeSources | None = None
    salt: int = 0
    control: bool = False
    settings: tuple[str, ...] = ()

    def __post_init__(self):
        _check_slug("name", self.name)
        if not self.title.strip():
            raise ValueError(f"arm {self.name!r}, title={self.title!r}: must not be empty; tables show it.")
        object.__setattr__(self, "overrides", MappingProxyType(dict(self.overrides)))


@dataclass(frozen=True)
class Setting:
    """The data on which an experiment runs, and how often.

    A run is one draw: a seed and a fold. With folds, the training and test examples of the recipe are divided in
    another way for every seed, and each is tested once per seed; without, every draw tests the whole test split. The
    validation examples serve tuning only.

    Attributes:
        config: path of the config, from the root of the project, or `fcnjax:NAME`.
        seeds: number of seeds, at least 1.
        folds: number of stratified folds, at least 2, or 1 for the test split of the recipe.
        train_examples: number of training examples of each draw, stratified and drawn with its seed; None takes all.
        overrides: value by recipe field for all arms.
        blocks: number of blocks of neighboring examples in the analysis of sensitivity; 0 leaves it out.
    """

    config: str
    seeds: int = 3
    folds: int = 5
    train_examples: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)
    blocks: int = 0

    def __post_init__(self):
        for name, minimum in (("seeds", 1), ("folds", 1), ("blocks", 0)):
            if getattr(self, name) < minimum:
                raise ValueError(f"{name}={getattr(self, name)} of {self.config}: must be at least {minimum}.")
        if self.train_examples is not None and self.train_examples < 1:
            raise ValueError(f"train_examples={self.train_examples} of {self.config}: must be at least 1, or None.")
        object.__setattr__(self, "overrides", MappingProxyType(dict(self.overrides)))


@dataclass(frozen=True)
class Finding:
    """What was found, in plain words, and the verdicts that the words are about.

    The report and the README show it only for a run with these verdicts and the planned seeds and recipe.

    Attributes:
        text: what was found and how it compares with the literature.
        verdicts: `holds`, `fails`, `not decided` or `no verdict` of each claim that is not declared exploratory, in the
            order of the claims.

    Raises:
        ValueError: if `text` is empty, or there is another verdict.
    """

    text: str
    verdicts: tuple[str, ...]

    def __post_init__(self):
        if not self.text.strip():
            raise ValueError(f"text={self.text!r} of a finding: must not be empty; say what was found.")
        unknown = [verdict for verdict in self.verdicts if verdict not in VERDICTS]
        if unknown or isinstance(self.verdicts, str):
            raise ValueError(f"verdicts={self.verdicts!r} of a finding: must be a tuple of {', '.join(VERDICTS)}.")


@dataclass(frozen=True)
class Experiment:
    """A question, its arms, what is measured of each run, and the claims.

    Attributes:
        name: slug, the name of its file and of its folder of results.
        question: what is asked, in one or two sentences.
        settings: the data by name; the first is the default.
        arms: at least one, in the order of tables.
        claims: what is decided, the most important first.
        measures: functions `TrainedRun -> Measured` (see `fcnjax.lab.measures`), each applied to every run.
        title: heading of the report; `name` if empty.
        varies: what differs between arms, the heading of the column of their descriptions.
        size_unit: unit of the sizes of test examples, such as `px` for images.
        tuned: learning rates that are tried for each arm, as factors of the recipe's; empty tunes nothing.
        pictures: functions `(Runner, Observations) -> Picture` for the report.
        findings: what was found, by setting, such as `{"digits": lab.Finding("Both are equal.", ("holds",))}`; it is
            written after the run and decides nothing.

    Raises:
        ValueError: without arms or settings, or if a name occurs twice, a claim names an unknown arm, or one that its
            setting lacks, or an arm, a claim or a finding names an unknown setting.
    """

    name: str
    question: str
    settings: Mapping[str, Setting] = field(hash=False)
    arms: tuple[Arm, ...]
    claims: tuple[Claim | Exact, ...]
    measures: tuple[Callable[..., Any], ...]
    title: str = ""
    varies: str = "arm"
    size_unit: str = "px"
    tuned: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    pictures: tuple[Callable[..., Any], ...] = ()
    findings: Mapping[str, Finding] = field(default_factory=dict, hash=False)

    def __post_init__(self):
        _check_slug("name", self.name)
        object.__setattr__(self, "title", self.title or self.name)
        if not self.arms or not self.settings:
            raise ValueError(f"{self.name}: must have at least one arm and one setting.")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ValueError(f"arms={self.names}: must have different names; {repeated} repeat.")
        statements = [claim.statement for claim in self.claims]
        repeated = sorted({statement for statement in statements if statements.count(statement) > 1})
        if repeated:
            raise ValueError(f"claims of {self.name}: must have different statements; {repeated} repeat.")
        for claim in self.claims:
            for name in claim.arms:
                self.arm(name)
        for part in (*self.arms, *self.claims):
            for name in part.settings:
                self.setting(name)
        for setting in self.settings:
            self._check_claims_of(setting)
        for name, finding in self.findings.items():
            self.setting(name)
            if not isinstance(finding, Finding):
                raise ValueError(f"findings={finding!r} of {name}: must be a lab.Finding, which names its verdicts.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arms, in the order of tables."""
        return tuple(arm.name for arm in self.arms)

    def arm(self, name: str) -> Arm:
        """Returns the arm called `name`.

        Raises:
            ValueError: if the experiment has no such arm; the message names the nearest one.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(unknown_name(f"arm of {self.name}", name, self.names))

    def within(self, setting: str) -> "Experiment":
        """Returns the experiment with the arms and claims of one setting; it keeps its other settings.

        Raises:
            ValueError: if the experiment has no such setting; the message names the nearest one.
        """
        self.setting(setting)
        arms, claims = self._parts_in(setting)
        same = len(arms) == len(self.arms) and len(claims) == len(self.claims)
        return self if same else dataclasses.replace(self, arms=arms, claims=claims)

    def setting(self, name: str | None = None) -> Setting:
        """Returns the setting called `name`, or the first one.

        Raises:
            ValueError: if the experiment has no such setting; the message names the nearest one.
        """
        if name is None:
            return next(iter(self.settings.values()))
        if name not in self.settings:
            raise ValueError(unknown_name("data", name, tuple(self.settings)))
        return self.settings[name]

    def _parts_in(self, setting: str) -> tuple[tuple[Arm, ...], tuple[Claim | Exact, ...]]:
        arms = tuple(arm for arm in self.arms if setting in (arm.settings or self.settings))
        return arms, tuple(claim for claim in self.claims if setting in (claim.settings or self.settings))

    def _check_claims_of(self, setting: str) -> None:
        """Raises ValueError if a claim of a setting is about an arm that the setting lacks."""
        arms, claims = self._parts_in(setting)
        names = {arm.name for arm in arms}
        for claim in claims:
            lacking = sorted(set(claim.arms) - names)
            if lacking:
                raise ValueError(
                    f"claim {claim.statement!r}: must be about arms of {setting!r}, which lacks {', '.join(lacking)}; "
                    "give the claim other settings or other arms."
                )


def changed_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Returns a recipe with other values of some fields, given as dotted paths.

    Raises:
        ValueError: if a path does not name a field; the message names the nearest field.
    """
    tree = recipe.to_dict()
    for name, value in changes.items():
        *groups, field_name = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[field_name] = value
    return Recipe.from_config(tree)
