"""The parts of every experiment: arms, seeds, results, claims, statistics, and the report."""

from fcnjax.lab.claims import Claim, accuracy_difference, all_above, cost_ratio, same_function, size_effect
from fcnjax.lab.class_maps import ClassMapRow, class_map_panel
from fcnjax.lab.experiment import Arm, Experiment
from fcnjax.lab.figures import accuracy_figure, arm_styles, loss_figure, size_figure
from fcnjax.lab.measures import (
    FunctionComparison,
    SizeBins,
    accuracy_by_bin,
    compare_functions,
    size_bins,
    step_time_ratios,
)
from fcnjax.lab.report import Picture, Report, Section, build_report, picture
from fcnjax.lab.results import ArmCost, Results, RunResult
from fcnjax.lab.statistics import (
    Interval,
    max_relative_difference,
    mean_interval,
    paired_interval,
    proportion_difference,
    proportion_interval,
)
from fcnjax.lab.tables import Table
from fcnjax.lab.writers import print_tables, write_csv, write_html, write_markdown

__all__ = [
    "Arm",
    "ArmCost",
    "Claim",
    "ClassMapRow",
    "Experiment",
    "FunctionComparison",
    "Interval",
    "Picture",
    "Report",
    "Results",
    "RunResult",
    "Section",
    "SizeBins",
    "Table",
    "accuracy_by_bin",
    "accuracy_difference",
    "accuracy_figure",
    "all_above",
    "arm_styles",
    "build_report",
    "class_map_panel",
    "compare_functions",
    "cost_ratio",
    "loss_figure",
    "max_relative_difference",
    "mean_interval",
    "paired_interval",
    "picture",
    "print_tables",
    "proportion_difference",
    "proportion_interval",
    "same_function",
    "size_bins",
    "size_effect",
    "size_figure",
    "step_time_ratios",
    "write_csv",
    "write_html",
    "write_markdown",
]
