"""Synthetic results with realistic numbers: 400 test digits of 16 to 40 px, 6 arms, 5 seeds."""

import numpy as np

from fcnjax import lab

TEST_COUNT, CLASSES, STEPS = 400, 10, 240
SEEDS = (0, 1, 2, 3, 4)
MULTIPLY_ADDS = {
    "linear-gap": 1280.0,
    "linear-conv": 13184.0,
    "hidden-gap": 17664.0,
    "hidden-between": 170032.0,
    "hidden-conv": 181936.0,
    "softmax-pool": 13184.0,
}
STEP_MS = dict(zip(MULTIPLY_ADDS, (21.4, 21.9, 21.6, 23.8, 24.1, 22.3), strict=True))
ERROR = dict(zip(MULTIPLY_ADDS, (0.022, 0.022, 0.020, 0.014, 0.014, 0.031), strict=True))


def make_experiment() -> lab.Experiment:
    return lab.Experiment(
        name="head_ordering",
        title="Does the order of the head matter?",
        question="A fully convolutional network can pool first (GAP-first) or classify first (conv-first). "
        "When are the two the same function, and what does the order change when they are not?",
        varies="head",
        arms=(
            lab.Arm("linear-gap", "linear, GAP-first", {"head.pool_at": 0}, None, "pool -> linear 10"),
            lab.Arm("linear-conv", "linear, conv-first", {"head.pool_at": 1}, "linear-gap", "1x1 conv 10 -> pool"),
            lab.Arm("hidden-gap", "hidden 128, GAP-first", {}, None, "pool -> linear 128 -> ReLU -> linear 10"),
            lab.Arm(
                "hidden-between", "hidden 128, pool between", {}, "hidden-gap", "conv 128 -> ReLU -> pool -> linear 10"
            ),
            lab.Arm("hidden-conv", "hidden 128, conv-first", {}, "hidden-gap", "conv 128 -> ReLU -> conv 10 -> pool"),
            lab.Arm("softmax-pool", "linear, softmax before pool", {}, "linear-gap", "1x1 conv 10 -> softmax -> pool"),
        ),
        equal_functions=(("linear-gap", "linear-conv"), ("hidden-between", "hidden-conv")),
    )


def make_run(arm: str, seed: int, error: float | None = None) -> lab.RunResult:
    """Returns a run; arms that compute one function have the same random numbers, up to rounding."""
    family = {"linear-conv": "linear-gap", "hidden-conv": "hidden-between"}.get(arm, arm)
    examples = np.random.default_rng(99)
    sizes = examples.integers(16, 41, size=(TEST_COUNT, 2))
    labels = examples.integers(0, CLASSES, size=TEST_COUNT)
    ease = examples.random(TEST_COUNT) * (0.2 + np.sqrt(sizes.prod(1)) / 40) ** 3  # small digits are harder
    rng = np.random.default_rng([list(MULTIPLY_ADDS).index(family), seed])
    rounding = 1 + 2e-7 * np.random.default_rng([len(arm), seed]).standard_normal((TEST_COUNT, CLASSES))
    share = ERROR[family] if error is None else error
    wrong = np.argsort(ease + 0.02 * rng.random(TEST_COUNT))[: round(share * TEST_COUNT + rng.integers(-1, 3))]
    final = rng.standard_normal((TEST_COUNT, CLASSES))
    final[np.arange(TEST_COUNT), labels] += 9
    final[wrong, labels[wrong]] -= 20
    losses = 2.3 * np.exp(-np.arange(STEPS) / 45) + 0.02 + 0.02 * rng.random(STEPS) + 0.3 * share
    return lab.RunResult(
        arm=arm,
        seed=seed,
        losses=(losses * (1 + 30 * (rounding[0, 0] - 1))).astype(np.float32),
        initial_logits=(rng.standard_normal((TEST_COUNT, CLASSES)) * rounding).astype(np.float32),
        final_logits=(final * rounding**50).astype(np.float32),
        labels=labels,
        sizes=sizes,
        ids=np.arange(TEST_COUNT) + 1000,
    )


def make_costs() -> tuple[lab.ArmCost, ...]:
    rng = np.random.default_rng(5)
    machine = 1 + 0.02 * rng.random(7)  # slow moments affect every arm
    return tuple(
        lab.ArmCost(name, MULTIPLY_ADDS[name], tuple(STEP_MS[name] * machine * (1 + 0.004 * rng.random(7))))
        for name in MULTIPLY_ADDS
    )


def make_rows() -> list[lab.ClassMapRow]:
    """Returns drawn rings of several sizes, with maps that are high on the ring; one arm misclassifies the last."""
    rows = []
    for i, (height, width) in enumerate(((16, 18), (20, 34), (28, 28), (40, 24))):
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        image = np.exp(-8 * (np.hypot(x, y) - 0.6) ** 2)[:, :, None]
        coarse = image[3::8, 3::8, 0]
        rng = np.random.default_rng(i)
        maps = {
            title: 6 * coarse[:, :, None] - 2 + rng.standard_normal((*coarse.shape, CLASSES))
            for title in ("linear, GAP-first", "linear, conv-first", "hidden 128, conv-first")
        }
        predictions = dict.fromkeys(maps, 0) | ({"hidden 128, conv-first": 6} if i == 3 else {})
        rows.append(lab.ClassMapRow(image, maps, predictions, label=0))
    return rows


def make_results(**changes) -> lab.Results:
    experiment = make_experiment()
    values = {
        "experiment": experiment,
        "runs": tuple(make_run(name, seed) for name in experiment.names for seed in SEEDS),
        "costs": make_costs(),
        "facts": {
            "data set": "any_size_digits 1.0.0, 400 test digits of 16 to 40 px",
            "hardware": "2 CPU cores",
            "versions": "jax 0.10.2, flax 0.12.8",
            "epochs": "20",
            "command": "python -m experiments.head_ordering --seeds=5 --workdir=runs/head_ordering",
        },
    }
    return lab.Results(**(values | changes))
