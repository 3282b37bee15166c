"""An experiment: a question, the arms that answer it, and the pairs of arms that should be one function.

Both classes are frozen and validate themselves. Nothing here trains or depends on a particular experiment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")


def _check_slug(what: str, value: str) -> None:
    if not _SLUG.fullmatch(value):
        raise ValueError(
            f"{what}={value!r}: must be a folder name of lower-case letters, digits, '-' and '_'; "
            "start with a letter or a digit."
        )


@dataclass(frozen=True)
class Arm:
    """One variant of an experiment: its base recipe with `overrides`.

    Attributes:
        name: slug that names its folder and its rows, such as `linear-gap-first`.
        title: name of the arm in tables and figures.
        overrides: value by recipe field, as a dotted path; read-only after construction.
        baseline: name of the arm that it is paired with, or None if it is a baseline itself.
        description: what the arm does, such as `pool -> linear 10`.

    Raises:
        ValueError: if `name` is not a slug, `title` is empty, or the arm is its own baseline.
    """

    name: str
    title: str
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)
    baseline: str | None = None
    description: str = ""

    def __post_init__(self):
        _check_slug("name", self.name)
        if not self.title.strip():
            raise ValueError(f"arm {self.name!r}, title={self.title!r}: must not be empty; tables show it.")
        if self.baseline == self.name:
            raise ValueError(f"arm {self.name!r}, baseline={self.baseline!r}: must be another arm, or None.")
        object.__setattr__(self, "overrides", MappingProxyType(dict(self.overrides)))


@dataclass(frozen=True)
class Experiment:
    """A question and the arms that answer it.

    Attributes:
        name: slug that names its folder.
        question: what is asked, in one or two sentences.
        arms: at least one, in the order of tables.
        equal_functions: pairs of names of arms that should compute one function of the same parameters, which the
            report checks.
        title: heading of the report; `name` if empty.
        varies: what differs between arms, the heading of the column of their descriptions.
        size_unit: unit of the sizes of test examples, such as `px` for images.

    Raises:
        ValueError: if there are no arms, a name occurs twice, a baseline does not exist or has a baseline itself, or a
            pair names an unknown arm or the same arm twice.

    >>> first = Arm("gap", "GAP-first", description="pool -> linear 10")
    >>> second = Arm("conv", "conv-first", baseline="gap", description="1x1 conv 10 -> pool")
    >>> Experiment("order", "Does order matter?", (first, second), (("gap", "conv"),)).arm("conv").title
    'conv-first'
    """

    name: str
    question: str
    arms: tuple[Arm, ...]
    equal_functions: tuple[tuple[str, str], ...] = ()
    title: str = ""
    varies: str = "arm"
    size_unit: str = "px"

    def __post_init__(self):
        _check_slug("name", self.name)
        object.__setattr__(self, "arms", tuple(self.arms))
        object.__setattr__(self, "equal_functions", tuple((a, b) for a, b in self.equal_functions))
        object.__setattr__(self, "title", self.title or self.name)
        if not self.arms:
            raise ValueError(f"arms={self.arms}: must be at least one.")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ValueError(f"arms={self.names}: must have different names; {repeated} repeat.")
        for arm in self.arms:
            if arm.baseline is not None and self.arm(arm.baseline).baseline is not None:
                raise ValueError(
                    f"arm {arm.name!r}, baseline={arm.baseline!r}: must not have a baseline itself; "
                    "pair both with the same arm."
                )
        for a, b in self.equal_functions:
            if self.arm(a) is self.arm(b):
                raise ValueError(f"equal_functions with ({a!r}, {b!r}): must be pairs of two different arms.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arms, in the order of tables."""
        return tuple(arm.name for arm in self.arms)

    @property
    def pairs(self) -> tuple[tuple[Arm, Arm], ...]:
        """Every arm that has a baseline, with that baseline."""
        return tuple((arm, self.arm(arm.baseline)) for arm in self.arms if arm.baseline is not None)

    def arm(self, name: str) -> Arm:
        """Returns the arm called `name`.

        Raises:
            ValueError: if the experiment has no such arm; the message lists its arms.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(f"arm={name!r}: must be one of {', '.join(self.names)}, the arms of {self.name!r}.")
