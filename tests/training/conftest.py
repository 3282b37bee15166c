import pytest
from synthetic_data import make_recipe, make_sources

from fcnjax.data import ArraySource
from fcnjax.training import Trainer


@pytest.fixture(scope="session")
def sources() -> dict[str, ArraySource]:
    return make_sources()


@pytest.fixture(scope="session")
def trainer(sources) -> Trainer:
    """Shared, so that its programs are compiled once per worker; dropout and augmentation are on."""
    return Trainer(make_recipe(model={"dropout": 0.2}, augment={"shift": 0.1}), sources)
