"""Claims: what an experiment decides, written down before it runs.

A statistical claim is about a contrast, a weighted sum of values of arms, such as the accuracy of one arm minus that of
another. An exact claim is about numbers that have no sampling error, such as the largest difference between two
functions. `fcnjax.lab.decisions` decides both.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A value that a contrast sums: the metric of an arm, times a weight.

    Attributes:
        arm: name of the arm.
        metric: name of the metric, a value per test example (see `fcnjax.lab.measures`).
        weight: factor.
    """

    arm: str
    metric: str = "accuracy"
    weight: float = 1.0


def difference(a: str, b: str, metric: str = "accuracy", other: str | None = None) -> tuple[Term, Term]:
    """Returns the contrast `a - b` of a metric; `other` is the metric of `b` if it is another one."""
    return Term(a, metric), Term(b, other or metric, -1.0)


@dataclass(frozen=True)
class _Contrast:
    """What statistical claims share.

    Attributes:
        statement: the sentence, without its period; it is true if the claim holds.
        contrast: the terms; each test example must have all of them in a run, or it is left out of that run.
        margin: delta, above 0, in the unit of the metric: 0.01 is one point of accuracy.
        exploratory: whether the numbers are shown without a verdict.
        control: whether the claim is about something broken on purpose, so that it must fail; it is decided alone,
            outside of the family of claims that Holm's procedure corrects.
        unit: name of the metric in words.
        scale: factor of the numbers in the report, such as 100 for points of accuracy.
        settings: names of the settings in which the claim is made; empty for all.
    """

    statement: str
    contrast: tuple[Term, ...]
    margin: float = 0.01
    exploratory: bool = False
    control: bool = False
    unit: str = "points of accuracy"
    scale: float = 100.0
    settings: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.margin > 0:
            raise ValueError(f"claim {self.statement!r}, margin={self.margin}: must be above 0.")
        if not self.contrast:
            raise ValueError(f"claim {self.statement!r}: must have a contrast of at least one term.")

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms in the contrast, each once."""
        return tuple(dict.fromkeys(term.arm for term in self.contrast))

    @property
    def largest_effect(self) -> float:
        """How much one example can change the contrast if the metrics lie in [0, 1]: 1 for `a - b`."""
        weights = [term.weight for term in self.contrast]
        return max(sum(weight for weight in weights if weight > 0), -sum(weight for weight in weights if weight < 0))


@dataclass(frozen=True)
class Superiority(_Contrast):
    """The claim that a contrast is above 0.

    It holds if `contrast <= 0` is rejected, and fails if `contrast >= margin` is rejected; if both are, it holds and
    the effect is below the margin.
    """


@dataclass(frozen=True)
class Equivalence(_Contrast):
    """The claim that a contrast lies within the margin: it holds if `|contrast| >= margin` is rejected.

    It fails if the interval lies outside the margin.
    """


def shuffled_costs_little(arm: str, shuffled: str) -> Equivalence:
    """Returns the claim that must fail in every experiment: an arm that learns shuffled labels is as accurate."""
    return Equivalence("Shuffled training labels cost less than a point", difference(arm, shuffled), control=True)


def same_with_other_seeds(arm: str, again: str) -> Equivalence:
    """Returns the claim about an arm and the arm that repeats it (A/A): its numbers are shown without a verdict."""
    statement = "The same arm with other seeds is equally accurate within a point"
    return Equivalence(statement, difference(arm, again), exploratory=True)


Claim = Superiority | Equivalence


@dataclass(frozen=True)
class Exact:
    """A claim about a number of each run that has no sampling error; it holds or fails.

    Attributes:
        statement: the sentence, without its period.
        number: name of the number (see `fcnjax.lab.measures`).
        arms: names of the arms whose runs have the number.
        at_most: the claim holds if the largest number of all runs is at most this.
        at_least: the claim holds if the smallest number of all runs is at least this.
        control: whether the claim is about something broken on purpose, so that it must fail.
        settings: names of the settings in which the claim is made; empty for all.

    Raises:
        ValueError: unless exactly one limit is given.
    """

    statement: str
    number: str
    arms: tuple[str, ...]
    at_most: float | None = None
    at_least: float | None = None
    control: bool = False
    settings: tuple[str, ...] = ()

    def __post_init__(self):
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"claim {self.statement!r}: must have one limit, at_most or at_least.")

    def allows(self, value: float) -> bool:
        """Returns whether a number is within the limit; NaN is not."""
        if self.at_most is not None:
            return value <= self.at_most
        return self.at_least is not None and value >= self.at_least
