"""The parts of every experiment: arms, draws, measures, claims, decisions, the report, and the command line."""

from fcnjax.lab.changes import any_size, zeros_to
from fcnjax.lab.claims import (
    Equivalence,
    Exact,
    Superiority,
    Term,
    difference,
    same_with_other_seeds,
    shuffled_costs_little,
)
from fcnjax.lab.command import main, write_index
from fcnjax.lab.decisions import Decision, decide
from fcnjax.lab.draws import few_examples, shuffled_labels
from fcnjax.lab.experiment import Arm, Experiment, Finding, Setting
from fcnjax.lab.measures import (
    AtSizes,
    ByArea,
    Flips,
    Measured,
    PositionProbe,
    ReceptiveFields,
    RolledFeatures,
    RolledScores,
    SameFunction,
    Scores,
    TrainedRun,
    ZeroPadding,
)
from fcnjax.lab.measures.scores import max_relative_difference
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.plan import Plan, read_plan
from fcnjax.lab.published.result import Result, read_result
from fcnjax.lab.report import ClassMapRow, Picture, Section, Table, chart, class_map_panel, picture
from fcnjax.lab.report.trained_maps import ClassMaps
from fcnjax.lab.runner import Runner
from fcnjax.lab.statistics import Estimate, clustered_mean

__all__ = [
    "Arm",
    "AtSizes",
    "ByArea",
    "ClassMapRow",
    "ClassMaps",
    "Decision",
    "Equivalence",
    "Estimate",
    "Exact",
    "Experiment",
    "Finding",
    "Flips",
    "Measured",
    "Observation",
    "Observations",
    "Picture",
    "Plan",
    "PositionProbe",
    "ReceptiveFields",
    "Result",
    "RolledFeatures",
    "RolledScores",
    "Runner",
    "SameFunction",
    "Scores",
    "Section",
    "Setting",
    "Superiority",
    "Table",
    "Term",
    "TrainedRun",
    "ZeroPadding",
    "any_size",
    "chart",
    "class_map_panel",
    "clustered_mean",
    "decide",
    "difference",
    "few_examples",
    "main",
    "max_relative_difference",
    "picture",
    "read_plan",
    "read_result",
    "same_with_other_seeds",
    "shuffled_costs_little",
    "shuffled_labels",
    "write_index",
    "zeros_to",
]
