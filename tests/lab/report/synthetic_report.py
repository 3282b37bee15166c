"""A synthetic experiment with realistic numbers: 12 arms, 3 seeds of 5 folds, 1,597 digits, 16 claims."""

from dataclasses import dataclass, field, replace

import numpy as np

from fcnjax.lab import report as pages
from fcnjax.lab.claims import Equivalence, Exact, Superiority, difference
from fcnjax.lab.decisions import Decision, decide
from fcnjax.lab.experiment import Arm, Experiment, Setting
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.report import class_maps

EXAMPLES, SEEDS, FOLDS, STEPS = 1597, 3, 5, 240
ERRORS = {  # name: (title, description, share of wrong digits)
    "linear-gap": ("linear, GAP-first", "pool -> linear 10", 0.024),
    "hidden-gap": ("hidden 128, GAP-first", "pool -> linear 128 -> ReLU -> linear 10", 0.020),
    "hidden-between": ("hidden 128, pool between", "1x1 conv 128 -> ReLU -> pool -> linear 10", 0.0215),
    "deep-gap": ("two hidden layers, GAP-first", "pool -> linear 128 -> ReLU -> linear 64 -> ReLU -> linear 10", 0.022),
    "deep-conv": ("two hidden layers, conv-first", "1x1 conv 128 -> ReLU -> conv 64 -> ReLU -> conv 10 -> pool", 0.017),
    "max-pool": ("hidden 128, maximum", "1x1 conv 128 -> ReLU -> maximum -> linear 10", 0.026),
    "attention": ("hidden 128, attention", "1x1 conv 128 -> ReLU -> attention -> linear 10", 0.018),
    "dropout": ("hidden 128, dropout 0.5", "pool -> linear 128 -> ReLU -> dropout -> linear 10", 0.019),
    "norm": ("hidden 128, batch norm", "pool -> linear 128 -> batch norm -> ReLU -> linear 10", 0.021),
    "softmax-pool": ("linear, softmax before pool", "1x1 conv 10 -> softmax -> pool", 0.042),
    "linear-again": ("linear, GAP-first, other seeds", "pool -> linear 10", 0.0245),
    "shuffled": ("shuffled labels", "pool -> linear 10, labels permuted", 0.9),
}
CONTRASTS = (
    ("Pooling after the ReLU is as accurate as before", "hidden-between", "hidden-gap", Equivalence),
    ("Two hidden layers are more accurate conv-first than GAP-first", "deep-conv", "deep-gap", Superiority),
    ("Softmax before the pool is less accurate than after", "linear-gap", "softmax-pool", Superiority),
    ("The maximum is more accurate than the mean", "max-pool", "hidden-between", Superiority),
    ("Attention is as accurate as the mean", "attention", "hidden-between", Equivalence),
    ("Dropout in the head changes nothing", "dropout", "hidden-gap", Equivalence),
    ("Batch norm in the head changes nothing", "norm", "hidden-gap", Equivalence),
    ("The same arm with other seeds is as accurate", "linear-again", "linear-gap", Equivalence),
)


@dataclass(frozen=True)
class Plan:
    """Stands for a plan: the attributes that reports read."""

    learning_rates: dict[str, float] = field(default_factory=dict)
    tuning: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    power: dict[str, float] = field(default_factory=dict)
    digest: str = "0a1b2c3d4e5f6789"


def make_experiment(**changes) -> Experiment:
    claims = [kind(words, difference(a, b)) for words, a, b, kind in CONTRASTS]
    claims += [
        Superiority("Shuffled labels are as good as true ones", difference("shuffled", "linear-gap"), control=True),
        Exact("Linear orders are one function", "logits differ", ("linear-gap",), at_most=1e-9),
        Exact("Hidden layers before and after the pool are one function", "other", ("hidden-gap",), at_most=1e-9),
        Exact("Orders across a ReLU are one function", "relu", ("hidden-between",), at_most=1e-9, control=True),
    ]
    claims += [
        replace(claims[i], statement=f"{claims[i].statement}, {words}", exploratory=True)
        for i, words in ((0, "small digits"), (1, "large digits"), (4, "small digits"), (6, "large digits"))
    ]
    values = {
        "name": "head_ordering",
        "title": "Pool first or classify first?",
        "question": "A fully convolutional network can pool first (GAP-first) or classify first (conv-first). "
        "When are the two the same function, and what does the order change when they are not?",
        "varies": "head",
        "settings": {"digits": Setting("configs/digits.py", SEEDS, FOLDS, blocks=40)},
        "arms": tuple(
            Arm(name, title, {}, words, salt=int(name == "linear-again"), control=name == "shuffled")
            for name, (title, words, _) in ERRORS.items()
        ),
        "claims": tuple(claims),
        "measures": (),
    }
    return Experiment(**(values | changes))


def make_run(arm: str, seed: int, fold: int) -> Observation:
    """Returns a run; small digits are harder, and arms disagree on some of the hard ones."""
    digits = np.random.default_rng(99)
    sizes = digits.integers(16, 41, size=(EXAMPLES, 2))
    labels = digits.integers(0, 10, size=EXAMPLES)
    ease = digits.standard_normal(EXAMPLES) + np.sqrt(sizes.prod(1)) / 20
    share, index = ERRORS[arm][2], list(ERRORS).index(arm)
    rng = np.random.default_rng([index, seed])
    score = ease + 0.5 * np.random.default_rng([7, index]).standard_normal(EXAMPLES) + rng.standard_normal(EXAMPLES) / 2
    wrong = score <= np.quantile(score, share + 0.002 * rng.standard_normal())
    mine = np.random.default_rng(seed).integers(0, FOLDS, EXAMPLES) == fold
    rng = np.random.default_rng([index, seed, fold])
    losses = (2.3 * np.exp(-np.arange(STEPS) / 45) + 0.01 + share) * np.exp(0.3 * rng.standard_normal(STEPS))
    facts = {"hardware": "2 CPU cores", "versions": "jax 0.10.2, flax 0.12.8"}
    numbers = {
        "parameters": 20_000.0 + 128 * index,
        "multiply-adds": 181_936.0 + index,
        "logits differ": 3e-10,
        "relu": 0.31,
        "other": 2e-10,
    }
    accuracy = {"accuracy": 1.0 - wrong[mine]}
    return Observation(
        arm, seed, fold, f"{index:04x}{seed}{fold}", np.flatnonzero(mine), accuracy, numbers, losses, labels[mine],
        sizes[mine], facts,
    )  # fmt: skip


def make_observations(arms=tuple(ERRORS), seeds: int = SEEDS) -> Observations:
    return Observations(tuple(make_run(a, s, f) for a in arms for s in range(seeds) for f in range(FOLDS)), FOLDS)


def make_decisions(experiment: Experiment, observations: Observations, plan=None) -> list[Decision]:
    return decide(experiment, observations, plan, blocks=40)


def make_plan() -> Plan:
    rates = ("0.025", "0.05", "0.1", "0.2")
    names = [name for name in ERRORS if name not in ("linear-again", "shuffled")]
    rng = np.random.default_rng(3)
    tuning = {name: {rate: list(0.08 + 0.05 * rng.random(2)) for rate in rates} for name in names}
    tuning["softmax-pool"]["0.2"] = [float("nan"), 0.3]
    tuning["softmax-pool"]["0.0125"] = [0.19, 0.21]
    power = {words: 0.63 if "Batch norm" in words else 0.91 for words, *_ in CONTRASTS}
    return Plan(dict.fromkeys(ERRORS, 0.1), tuning, power)


def make_rows() -> list[class_maps.ClassMapRow]:
    """Returns drawn rings of several sizes, with maps that are high on the ring; one arm misclassifies the last."""
    rows = []
    for i, (height, width) in enumerate(((16, 18), (20, 34), (28, 28), (40, 24))):
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        image = np.exp(-8 * (np.hypot(x, y) - 0.6) ** 2)[:, :, None]
        coarse = image[3::8, 3::8, 0]
        rng = np.random.default_rng(i)
        maps = {
            title: 6 * coarse[:, :, None] - 2 + rng.standard_normal((*coarse.shape, 10))
            for title in ("linear, GAP-first", "linear, conv-first", "hidden 128, conv-first")
        }
        predictions = dict.fromkeys(maps, 0) | ({"hidden 128, conv-first": 6} if i == 3 else {})
        rows.append(class_maps.ClassMapRow(image, maps, predictions, label=0))
    return rows


def make_report(**changes):
    """Returns the report of all the above; `changes` are arguments of `build_report`."""
    experiment = changes.pop("experiment", None) or make_experiment()
    observations = changes.pop("observations", None) or make_observations()
    maps = pages.picture("class_maps", class_maps.class_map_panel(make_rows()), "Class maps of four rings.")
    plan = changes.pop("plan", make_plan())
    if "decisions" not in changes:
        changes["decisions"] = make_decisions(experiment, observations, plan)
    values = {
        "plan": plan,
        "facts": {"command": "python -m experiments.head_ordering --data=digits --workdir=runs/head_ordering"},
        "pictures": (maps,),
    }
    return pages.build_report(experiment, "digits", observations, **(values | changes))
