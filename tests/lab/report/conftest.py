import pytest
from synthetic_report import make_experiment, make_observations, make_report

from fcnjax.lab.experiment import Experiment
from fcnjax.lab.observations import Observations
from fcnjax.lab.report import Report


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    return make_experiment()


@pytest.fixture(scope="session")
def observations() -> Observations:
    return make_observations()


@pytest.fixture(scope="session")
def report(experiment, observations) -> Report:
    return make_report(experiment=experiment, observations=observations)
