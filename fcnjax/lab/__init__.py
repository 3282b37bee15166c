"""The parts of every experiment: arms, seeds, runs, measures, claims, statistics, decisions."""

from fcnjax.lab.claims import Equivalence, Exact, Superiority, Term, difference
from fcnjax.lab.decisions import Decision, decide
from fcnjax.lab.draws import few_examples, shuffled_labels
from fcnjax.lab.experiment import Arm, Experiment, Setting
from fcnjax.lab.measures import ByArea, Flips, Measured, SameFunction, Scores, TrainedRun
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.runner import Runner
from fcnjax.lab.statistics import Estimate, clustered_mean, max_relative_difference

__all__ = [
    "Arm",
    "ByArea",
    "Decision",
    "Equivalence",
    "Estimate",
    "Exact",
    "Experiment",
    "Flips",
    "Measured",
    "Observation",
    "Observations",
    "Runner",
    "SameFunction",
    "Scores",
    "Setting",
    "Superiority",
    "Term",
    "TrainedRun",
    "clustered_mean",
    "decide",
    "difference",
    "few_examples",
    "max_relative_difference",
    "shuffled_labels",
]
