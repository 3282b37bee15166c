"""The parts of every experiment: arms, seeds, claims, statistics, decisions, and the report."""

from fcnjax.lab.claims import Equivalence, Exact, Superiority, Term, difference
from fcnjax.lab.decisions import Decision, decide
from fcnjax.lab.experiment import Arm, Experiment, Setting
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.report import ClassMapRow, Picture, Section, Table, chart, class_map_panel, picture
from fcnjax.lab.statistics import Estimate, clustered_mean, max_relative_difference

__all__ = [
    "Arm",
    "ClassMapRow",
    "Decision",
    "Equivalence",
    "Estimate",
    "Exact",
    "Experiment",
    "Observation",
    "Observations",
    "Picture",
    "Section",
    "Setting",
    "Superiority",
    "Table",
    "Term",
    "chart",
    "class_map_panel",
    "clustered_mean",
    "decide",
    "difference",
    "max_relative_difference",
    "picture",
]
