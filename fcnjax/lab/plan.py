"""The plan of an experiment: what is decided and how, tuned learning rates and planned power, committed before the run.

`--tune` writes it as `plan.json` beside the published result; every run reads it. The file is sealed: a plan that was
edited by hand is refused.
"""

import dataclasses
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcnjax.atomic import read_json
from fcnjax.lab.claims import Claim, Equivalence, Exact
from fcnjax.lab.experiment import Arm, Experiment, Setting
from fcnjax.lab.keys import described
from fcnjax.lab.power import SUFFICIENT, planned_power, predicted_df, predicted_se
from fcnjax.lab.published.encoding import decoded_number, digest_of, encoded
from fcnjax.sealed import CHECKSUM, read_sealed, write_sealed
from fcnjax.training import Recipe
from fcnjax.training.settings.recipe import PACE

FILE = "plan.json"
LATER = {"measures", "at_edge"}  # fields that plans did not hold at first


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was decided before the run.

    Attributes:
        setting: name of the setting.
        learning_rates: tuned learning rate by arm.
        tuning: validation losses of the pilot seeds by learning rate as text, by arm; an arm that took the rate of
            another one has none.
        power: planned power by statement of a statistical claim.
        components: variance components of its contrast by statement, from the pilots.
        examples: number of test examples of one seed that count for the claim, by statement.
        seeds: planned number of seeds.
        folds: planned number of folds.
        claims: each claim as a mapping (see `describe_claim`).
        arms: each arm as a mapping (see `describe_arm`), by name.
        data: config, overrides and number of training examples of the setting.
        recipe: the recipe that all arms share, without what does not change results.
        measures: name and fields of each measure (see `describe_function`).
        at_edge: arms whose learning rate is the lowest or the highest that was tried; a better one may lie beyond it.
        facts: versions and hardware of the pilots.
    """

    setting: str
    learning_rates: Mapping[str, float]
    tuning: Mapping[str, Mapping[str, Sequence[float]]]
    power: Mapping[str, float]
    components: Mapping[str, Mapping[str, float]]
    seeds: int
    folds: int
    examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
    claims: Sequence[Mapping[str, Any]] = ()
    arms: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measures: Sequence[str] = ()
    at_edge: Sequence[str] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify the plan; `power` follows from the rest."""
        given = {name: value for name, value in self._fields().items() if value or name not in LATER}
        return digest_of({name: value for name, value in given.items() if name != "power"})

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def write(self, path: Path | str) -> Path:
        """Writes the plan, whole or not at all, and returns the path."""
        return write_sealed(path, encoded(self._fields()))

    def check(self, experiment: Experiment, setting: str, path: Path | str) -> None:
        """Raises ValueError if the plan was made for other claims, arms, measures, seeds or folds."""
        planned = experiment.setting(setting)
        pairs = {
            "data": ((self.setting, self.data), (setting, describe_setting(planned))),
            "claims": (self.claims, [describe_claim(claim) for claim in experiment.claims]),
            "arms": (self.arms, {arm.name: describe_arm(arm) for arm in experiment.arms}),
            "measures": (self.measures, [describe_function(measure) for measure in experiment.measures]),
            "seeds": (self.seeds, planned.seeds),
            "folds": (self.folds, planned.folds),
        }
        if not self.measures:  # a plan that was written before plans held them
            del pairs["measures"]
        changed = [name for name, (before, now) in pairs.items() if encoded(before) != encoded(now)]
        if changed:
            raise ValueError(
                f"{path}: must be a plan of this experiment, and its {', '.join(changed)} have changed since; "
                "run it with --tune again."
            )

    def differs_in(self, recipe: Recipe) -> list[str]:
        """Returns the fields of a recipe, as dotted names, that differ from those of the plan."""
        before, now = _flat(self.recipe), _flat(describe_recipe(recipe))
        return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))

    def for_seeds(self, experiment: Experiment, seeds: int) -> "Plan":
        """Returns the plan with the power that another number of seeds has; its digest stays the same."""
        power = powers(experiment, self.components, self.examples, seeds, self.folds)
        return self if seeds == self.seeds else dataclasses.replace(self, power=power)


def read_plan(path: Path | str) -> Plan:
    """Returns a plan that was written.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged, was edited by hand, has no checksum, or is not a plan.
    """
    kept = read_sealed(Path(path))
    if CHECKSUM not in read_json(Path(path)):
        raise ValueError(f"{path}: must have the checksum that it was written with; restore it from a copy.")
    names = {field.name for field in dataclasses.fields(Plan)}
    if not names - LATER <= kept.keys() <= names:
        raise ValueError(f"{path}: must hold the fields {sorted(names)}; run the experiment with --tune again.")
    tuning = {
        arm: {rate: [decoded_number(loss) for loss in losses] for rate, losses in rates.items()}
        for arm, rates in kept["tuning"].items()
    }
    numbers = {name: {key: decoded_number(value) for key, value in kept[name].items()} for name in ("power",)}
    components = {
        claim: {name: decoded_number(value) for name, value in parts.items()}
        for claim, parts in kept["components"].items()
    }
    return Plan(**{**kept, **numbers, "tuning": tuning, "components": components})


def is_committed(path: Path | str) -> bool:
    """Returns whether git knows a file as it is; False outside of a repository."""
    command = ["git", "-C", str(Path(path).parent)]
    changes = ["status", "--porcelain", "--ignored", "--", Path(path).name]
    try:
        done = subprocess.run([*command, *changes], capture_output=True, text=True, check=False)
    except OSError:  # git is not installed
        return False
    return done.returncode == 0 and not done.stdout.strip()


def committed_at(path: Path | str) -> int | None:
    """Returns when git got a file as it is, in seconds since 1970; None if it never did (see `is_committed`)."""
    command = ["git", "-C", str(Path(path).parent), "log", "-1", "--format=%ct", "--", Path(path).name]
    if not is_committed(path):
        return None
    time = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return int(time) if time else None


def describe_claim(claim: Claim | Exact) -> dict[str, Any]:
    """Returns what a claim decides, as the plan and the result hold it."""
    common = {"statement": claim.statement, "control": claim.control}
    if isinstance(claim, Exact):
        limits = {"at_most": claim.at_most, "at_least": claim.at_least}
        return {**common, "test": "exact", "number": claim.number, "arms": list(claim.arms), **limits}
    equivalence = isinstance(claim, Equivalence)
    return {
        **common,
        "test": "equivalence" if equivalence else "superiority",
        "direction": "within the margin" if equivalence else "above 0",
        "contrast": [dataclasses.asdict(term) for term in claim.contrast],
        "margin": claim.margin,
        "exploratory": claim.exploratory,
    }


def describe_function(function: Callable[..., Any]) -> str:
    """Returns the name and the fields of a measure or a change of sources, which no process or version changes.

    Raises:
        ValueError: if it has no such name (see `keys.described`).
    """
    described(function)
    return repr(function) if dataclasses.is_dataclass(function) else f"{function.__module__}.{function.__qualname__}"


def describe_arm(arm: Arm) -> dict[str, Any]:
    """Returns what an arm trains: its overrides, its change of the data, and its role."""
    return {
        "overrides": dict(arm.overrides),
        "sources": None if arm.sources is None else describe_function(arm.sources),
        "salt": arm.salt,
        "control": arm.control,
    }


def describe_setting(setting: Setting) -> dict[str, Any]:
    """Returns the data of a setting; seeds and folds stand apart."""
    return {"config": setting.config, "train_examples": setting.train_examples, "overrides": dict(setting.overrides)}


def describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """Returns the fields of a recipe that change results."""
    return {name: value for name, value in recipe.to_dict().items() if name not in PACE}


def primary_claims(experiment: Experiment) -> tuple[Claim, ...]:
    """Returns the statistical claims that Holm's procedure corrects together."""
    claims = (claim for claim in experiment.claims if not isinstance(claim, Exact))
    return tuple(claim for claim in claims if not (claim.exploratory or claim.control))


def expected_error(
    claim: Claim,
    components: Mapping[str, Mapping[str, float]],
    examples: Mapping[str, int],
    seeds: int,
    folds: int,
) -> tuple[float, int]:
    """Returns the standard error to expect of a claim, and its degrees of freedom; the arguments are as in `powers`."""
    parts, count = components[claim.statement], examples[claim.statement]
    return predicted_se(parts, count, seeds, folds, claim.largest_effect), predicted_df(count, seeds, folds)


def powers(
    experiment: Experiment,
    components: Mapping[str, Mapping[str, float]],
    examples: Mapping[str, int],
    seeds: int,
    folds: int,
) -> dict[str, float]:
    """Returns the planned power of each statistical claim, at the first step of Holm's procedure.

    The family is that of the primary claims which can be decided: while one has too little power, the weakest leaves
    the family, keeps the power that it had, and the others gain.

    Args:
        experiment: its claims.
        components: variance components by statement.
        examples: number of test examples of one seed by statement.
        seeds: number of seeds.
        folds: number of folds.
    """

    def power(claim: Claim, family: int) -> float:
        se, df = expected_error(claim, components, examples, seeds, folds)
        return planned_power(claim, se, family, df)

    primary = list(primary_claims(experiment))
    alone = [claim for claim in experiment.claims if not isinstance(claim, Exact) and claim not in primary]
    found = {claim.statement: power(claim, 1) for claim in alone}
    while primary:
        found |= {claim.statement: power(claim, len(primary)) for claim in primary}
        weakest = min(primary, key=lambda claim: found[claim.statement])
        if found[weakest.statement] >= SUFFICIENT:
            break
        primary.remove(weakest)
    return found


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of nested mappings by dotted name, as JSON holds them."""
    leaves = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: encoded(value)}
    return leaves
