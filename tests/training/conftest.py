"""Sources and a trainer that the tests of the training room share."""

import pytest
from synthetic_data import make_recipe, make_sources

from fcnjax.data import ArraySource
from fcnjax.training import Trainer

# There are no doctests here, and --doctest-modules would import all conftest.py as one module.
collect_ignore = ["conftest.py"]


@pytest.fixture(scope="session")
def sources() -> dict[str, ArraySource]:
    return make_sources()


@pytest.fixture(scope="session")
def trainer(sources) -> Trainer:
    """Shared, so that its programs are compiled once per worker; dropout is on."""
    return Trainer(make_recipe(model={"dropout": 0.2}), sources)
