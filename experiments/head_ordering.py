"""Head ordering: does it matter whether a classifier pools first or classifies first?

Run `python -m experiments.head_ordering --config=configs/digits.py --seeds=5 --workdir=runs/head_ordering`, or `make
ablation`. After an interruption, the same command does the missing runs.
"""

import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from fcnjax import Padded, lab
from fcnjax.commands.command_line import parse, read_recipe, run_command
from fcnjax.lab.runner import Runner
from fcnjax.training import jit

# Every field of the head that the descriptions of the arms state, so that none of them comes from the config.
LINEAR = {
    "head.hidden": (),
    "head.activation": "relu",
    "head.dropout": 0.0,
    "head.log_softmax": False,
    "head.pool": "mean",
}
HIDDEN = {**LINEAR, "head.hidden": (128,)}
AVERAGED = {**LINEAR, "head.log_softmax": True, "head.pool": "logsumexp", "head.pool_r": 1.0}

EXPERIMENT = lab.Experiment(
    name="head_ordering",
    title="Pool first or classify first?",
    question=(
        "A fully convolutional network takes images of any size, because a global pool turns any number of positions "
        "into one vector. Does it matter whether its head pools first (global average pooling, then a linear layer: "
        "GAP-first) or classifies first (1x1 convolution to one map per class, then pooling: conv-first)?"
    ),
    varies="head",
    arms=(
        lab.Arm("linear-gap-first", "linear, GAP-first", {**LINEAR, "head.pool_at": 0}, None, "pool -> linear 10"),
        lab.Arm(
            "linear-conv-first",
            "linear, conv-first",
            {**LINEAR, "head.pool_at": 1},
            "linear-gap-first",
            "1x1 conv 10 -> pool",
        ),
        lab.Arm(
            "hidden-gap-first",
            "hidden, GAP-first",
            {**HIDDEN, "head.pool_at": 0},
            None,
            "pool -> linear 128 -> ReLU -> linear 10",
        ),
        lab.Arm(
            "hidden-pool-between",
            "hidden, pool between",
            {**HIDDEN, "head.pool_at": 2},
            "hidden-gap-first",
            "1x1 conv 128 -> ReLU -> pool -> linear 10",
        ),
        lab.Arm(
            "hidden-conv-first",
            "hidden, conv-first",
            {**HIDDEN, "head.pool_at": 3},
            "hidden-gap-first",
            "1x1 conv 128 -> ReLU -> 1x1 conv 10 -> pool",
        ),
        lab.Arm(
            "softmax-before-pool",
            "softmax before pool",
            {**AVERAGED, "head.pool_at": 2},
            "linear-gap-first",
            "1x1 conv 10 -> softmax -> pool",
        ),
    ),
    equal_functions=(("linear-gap-first", "linear-conv-first"), ("hidden-pool-between", "hidden-conv-first")),
)
MAPPED = ("linear-conv-first", "hidden-conv-first", "softmax-before-pool")
SIZE_BINS = 5


def claims(results: lab.Results) -> list[lab.Claim]:
    """Returns the claims that answer the question, the most important first."""
    bins = lab.size_bins(results, SIZE_BINS)
    return [
        *(lab.same_function(results, a, b) for a, b in EXPERIMENT.equal_functions),
        *(lab.accuracy_difference(results, arm.name, baseline.name) for arm, baseline in EXPERIMENT.pairs),
        lab.accuracy_difference(results, "hidden-gap-first", "linear-gap-first"),
        *(lab.cost_ratio(results, arm.name, baseline.name) for arm, baseline in EXPERIMENT.pairs),
        *(lab.size_effect(results, arm.name, bins) for arm in EXPERIMENT.arms),
        lab.all_above(results, 0.96),
    ]


def class_maps(runner: Runner) -> lab.Picture:
    """Returns a picture of class maps: the arms in `MAPPED`, over the smallest, tallest, widest and largest digit."""
    source, seed = runner.sources["test"], runner.seeds[0]
    height, width = source.sizes.T.astype(float)
    chosen = [
        np.argmin(height * width),
        np.argmax(height / width),
        np.argmax(width / height),
        np.argmax(height * width),
    ]
    examples = [source[int(index)] for index in chosen]
    data = next(iter(runner.recipes.values())).data
    batch = Padded.stack([((e.values / 255 - data.mean) / data.std).astype(np.float32) for e in examples])
    maps, predictions = {}, {}
    for name in MAPPED:
        model, title = runner.trained_model(name, seed), EXPERIMENT.arm(name).title
        scores, logits = jit(lambda batch, model=model: (model.class_maps(batch), model(batch)))(batch)
        probabilities = model.head.ends_in_log_softmax
        maps[title] = [np.exp(score) if probabilities else score for score in scores.unstack()]
        predictions[title] = np.argmax(logits, -1)
    rows = [
        lab.ClassMapRow(
            example.values,
            {title: maps[title][i] for title in maps},
            {title: int(predictions[title][i]) for title in maps},
            example.label,
        )
        for i, example in enumerate(examples)
    ]
    caption = (
        f"The map of the predicted class, over the smallest, tallest, widest and largest test digit (seed {seed}): "
        "logits, and probabilities for softmax before pool. The pool of each map gives the score of its class. With a "
        "hidden layer, GAP-first has no such maps: its ReLU comes after the pool."
    )
    return lab.picture("class_maps", lab.class_map_panel(rows, shared=False), caption)


def main(argv: Sequence[str]) -> None:
    """Runs the experiment and writes `results.csv`, `report.md` and `report.html` into its folder."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_integer(
            "seeds", 5, "Number of seeds; every arm has one run with each.", lower_bound=1, flag_values=values
        )
        flags.DEFINE_string("workdir", "runs/head_ordering", "Folder of the experiment.", flag_values=values)

    given = parse(argv, define, config="configs/digits.py")
    runner = Runner(EXPERIMENT, read_recipe(given.config), range(given.seeds), given.workdir)
    results = runner.run()
    command = {"command": f"python -m experiments.head_ordering {' '.join(argv[1:])}".strip()}
    results = lab.Results(EXPERIMENT, results.runs, results.costs, {**results.facts, **command})
    report = lab.build_report(results, claims(results), class_maps(runner), bins=SIZE_BINS)
    lab.write_csv(results, runner.workdir / "results.csv")
    lab.write_markdown(report, runner.workdir / "report.md")
    page = lab.write_html(report, runner.workdir / "report.html")
    lab.print_tables(report)
    print(f"\nreport: {page}")


if __name__ == "__main__":
    sys.exit(run_command("head_ordering", main, sys.argv))
