"""Which pixels features depend on: stated windows, and windows that are too small or at another place."""

import pytest
from tiny_experiment import make_normed_runner

from fcnjax import lab
from fcnjax.lab.measures.maps import receptive_fields

CHANNELS = {"model.channels": (4, 6)}
SIZES = {"stride": 10, "max_pool": 13, "dilation": 10, "none": 7}
ARMS = tuple(lab.Arm(way, way, {**CHANNELS, "model.downsampling": way}) for way in SIZES)
STATED = "features change, outside of the receptive field"


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> lab.Runner:
    return make_normed_runner(tmp_path_factory.mktemp("fields"), *ARMS)


def numbers_of(runner: lab.Runner, arm: str, *within: int):
    measured = lab.ReceptiveFields(within)(runner.trained(arm, 0, 1))
    assert measured is not None
    return measured.numbers


@pytest.mark.parametrize("arm", SIZES)
def test_features_depend_on_their_whole_receptive_field_and_on_no_other_pixel(runner, arm):
    size = SIZES[arm]
    numbers = numbers_of(runner, arm, size, size - 2)
    same, smaller = (f"features change, outside of {extent} px" for extent in (size, size - 2))
    assert numbers.keys() == {STATED, same, smaller}
    assert 0 <= numbers[STATED] == numbers[same] < 1e-12
    assert numbers[smaller] > 1e-4


@pytest.mark.parametrize("change", [{"start": 1}, {"start": -1}, {"size": -1}])
@pytest.mark.parametrize("arm", ["stride", "dilation"])
def test_a_window_that_is_off_by_one_pixel_is_noticed(runner, arm, change, monkeypatch):
    true_fields = receptive_fields.fields_of

    def wrong(parts, rank):
        fields = true_fields(parts, rank)
        return [field._replace(**{k: getattr(field, k) + by for k, by in change.items()}) for field in fields]

    monkeypatch.setattr(receptive_fields, "fields_of", wrong)
    assert numbers_of(runner, arm)[STATED] > 1e-4


def test_arms_that_are_not_named_are_left_out(runner):
    assert lab.ReceptiveFields(arms=("none",))(runner.trained("stride", 0, 1)) is None
