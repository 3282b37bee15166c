"""Measures pixels: those that buckets pad, and those that a training sees."""

from dataclasses import dataclass

from fcnjax.data.size_table import areas
from fcnjax.lab.measures.trained_run import Measured, TrainedRun


@dataclass(frozen=True)
class BucketCosts:
    """Measures what the buckets of a run cost, as numbers.

    "waste, %" is padded over real pixels of an epoch, minus 1, filler rows included; "buckets" those that training
    uses; "programs" those that are compiled for training and for evaluation.
    """

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns the numbers."""
        trainer, plan = run.trainer, run.trainer.plan(run.recipe.seed)
        tested = [trainer.evaluation_plans[name] for name in ("validation", "test")]
        compiled = [*trainer.programs.for_training(plan, 0), *trainer.programs.for_evaluation(tested)]
        buckets = int((plan.batches_per_bucket > 0).sum())
        return Measured({}, {"waste, %": 100 * plan.waste, "buckets": buckets, "programs": len(compiled)})


@dataclass(frozen=True)
class RealPixels:
    """Measures how many real pixels a training sees: "real pixels", in all epochs, without padding and filler rows.

    "real pixels, off the budget" is their relative difference from the budget, at least 0.

    Attributes:
        budget: pixels of each training example in all epochs together, such as `7 * 28 * 28`.
    """

    budget: int

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns both numbers."""
        train, crop = run.sources["train"], run.trainer.crop
        seen = 0
        for epoch in range(run.recipe.epochs):
            sizes = train.sizes if crop is None else crop.sizes(run.recipe.seed, epoch, train.ids, train.sizes)
            seen += int(areas(sizes).sum())
        off = abs(seen / (self.budget * len(train)) - 1)
        return Measured({}, {"real pixels": seen, "real pixels, off the budget": off})
