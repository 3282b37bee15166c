"""The parts of every experiment: arms, seeds, claims, statistics, decisions."""

from fcnjax.lab.claims import Equivalence, Exact, Superiority, Term, difference
from fcnjax.lab.decisions import Decision, decide
from fcnjax.lab.experiment import Arm, Experiment, Setting
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.statistics import Estimate, clustered_mean, max_relative_difference

__all__ = [
    "Arm",
    "Decision",
    "Equivalence",
    "Estimate",
    "Exact",
    "Experiment",
    "Observation",
    "Observations",
    "Setting",
    "Superiority",
    "Term",
    "clustered_mean",
    "decide",
    "difference",
    "max_relative_difference",
]
