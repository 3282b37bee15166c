"""What an experiment is: a question, the arms that answer it, and which of them should be one function.

Plain frozen values that validate themselves; nothing here trains anything or knows of any one experiment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")


def _require_slug(what: str, value: str) -> None:
    if not _SLUG.fullmatch(value):
        raise ValueError(
            f"{what} {value!r} cannot name a folder: use lower-case letters, digits, '-' and '_', "
            "starting with a letter or digit."
        )


@dataclass(frozen=True)
class Arm:
    """One way of doing it: everything in an arm is the experiment's base config except ``overrides``.

    Attributes:
        name: slug that names its folder and its rows, such as ``"linear-gap-first"``.
        title: the words for it in tables and figures.
        overrides: config field (dotted path) to value; read-only after construction.
        baseline: name of the arm that it is paired against, or None for an arm that is itself a baseline.
        description: what the arm does, written out, such as ``"pool -> linear 10"``.

    Raises:
        ValueError: ``name`` is no slug, ``title`` is empty, or the arm is its own baseline.
    """

    name: str
    title: str
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)
    baseline: str | None = None
    description: str = ""

    def __post_init__(self):
        _require_slug("arm name", self.name)
        if not self.title.strip():
            raise ValueError(f"arm {self.name!r} has an empty title: give the words that tables should show.")
        if self.baseline == self.name:
            raise ValueError(f"arm {self.name!r} is its own baseline: name another arm, or None for a baseline.")
        object.__setattr__(self, "overrides", MappingProxyType(dict(self.overrides)))


@dataclass(frozen=True)
class Experiment:
    """A question and the arms that answer it.

    Attributes:
        name: slug that names its folder.
        question: what is asked, in one or two sentences.
        arms: at least one `Arm`, in the order of tables.
        equal_functions: pairs of arm names that compute one function of the same parameters; the report measures it.
        title: heading of the report; the name when empty.
        varies: what differs between arms, the title of the column with their descriptions.
        size_unit: unit of the test sizes, such as ``"px"`` for images.

    Raises:
        ValueError: no arms, a name twice, a baseline that does not exist or has a baseline itself, or a pair that names
            an unknown arm or the same arm twice.

    Example:
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
        _require_slug("experiment name", self.name)
        object.__setattr__(self, "arms", tuple(self.arms))
        object.__setattr__(self, "equal_functions", tuple((a, b) for a, b in self.equal_functions))
        object.__setattr__(self, "title", self.title or self.name)
        if not self.arms:
            raise ValueError(f"experiment {self.name!r} has no arms: give at least one.")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ValueError(f"experiment {self.name!r} names {repeated} more than once: every arm needs its own name.")
        for arm in self.arms:
            if arm.baseline is not None and self.arm(arm.baseline).baseline is not None:
                raise ValueError(
                    f"arm {arm.name!r} has the baseline {arm.baseline!r}, which has a baseline itself: "
                    "pair both against the same arm."
                )
        for a, b in self.equal_functions:
            if self.arm(a) is self.arm(b):
                raise ValueError(f"equal_functions pairs {a!r} with itself: name two different arms.")

    @property
    def names(self) -> tuple[str, ...]:
        """Arm names in the order of tables."""
        return tuple(arm.name for arm in self.arms)

    @property
    def pairs(self) -> tuple[tuple[Arm, Arm], ...]:
        """Every arm that has a baseline, with that baseline."""
        return tuple((arm, self.arm(arm.baseline)) for arm in self.arms if arm.baseline is not None)

    def arm(self, name: str) -> Arm:
        """Returns the arm called ``name``.

        Raises:
            ValueError: there is no such arm; the message lists those there are.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(f"experiment {self.name!r} has no arm {name!r}: its arms are {', '.join(self.names)}.")
