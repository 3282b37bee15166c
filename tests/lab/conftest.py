import pytest
from synthetic_results import make_results, make_rows

from fcnjax import lab


@pytest.fixture(scope="session")
def results() -> lab.Results:
    return make_results()


@pytest.fixture(scope="session")
def report(results) -> lab.Report:
    bins = lab.size_bins(results, 5)
    claims = (
        lab.same_function(results, "linear-gap", "linear-conv"),
        lab.same_function(results, "hidden-between", "hidden-conv"),
        *(lab.accuracy_difference(results, arm.name, base.name) for arm, base in results.experiment.pairs),
        lab.all_above(results, 0.96),
        lab.cost_ratio(results, "hidden-conv", "hidden-gap"),
        lab.size_effect(results, "linear-gap", bins),
    )
    panel = lab.picture("class_maps", lab.class_map_panel(make_rows()), "Class maps of four digits.")
    return lab.build_report(results, claims, panel, bins=bins)
