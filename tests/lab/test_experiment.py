from dataclasses import FrozenInstanceError

import pytest

from fcnjax import lab


def test_overrides_are_a_read_only_copy():
    given = {"head.pool_at": 0}
    arm = lab.Arm("a", "A", given)
    given["head.pool_at"] = 1
    assert arm.overrides == {"head.pool_at": 0}
    with pytest.raises(TypeError):
        arm.overrides["x"] = 1  # pyright: ignore[reportIndexIssue]
    with pytest.raises(FrozenInstanceError):
        arm.name = "b"  # pyright: ignore[reportAttributeAccessIssue]
    assert hash(arm) == hash(lab.Arm("a", "A"))


@pytest.mark.parametrize("name", ["", "Linear", "a b", "../a", "-a", "a/b", "a\n"])
def test_names_that_cannot_be_folders_are_refused(name):
    with pytest.raises(ValueError, match="must be a folder name of"):
        lab.Arm(name, "title")


def test_arm_refuses_an_empty_title_and_itself_as_baseline():
    with pytest.raises(ValueError, match="title=' ': must not be empty"):
        lab.Arm("a", " ")
    with pytest.raises(ValueError, match="baseline='a': must be another arm"):
        lab.Arm("a", "A", baseline="a")


A, B, C = lab.Arm("a", "A"), lab.Arm("b", "B", baseline="a"), lab.Arm("c", "C", baseline="b")


@pytest.mark.parametrize(
    ("arms", "pairs", "message"),
    [
        ((), (), r"arms=\(\): must be at least one"),
        ((A, A), (), r"must have different names; \['a'\] repeat"),
        ((B,), (), "arm='a': must be one of b, the arms of 'e'"),
        ((A, B, C), (), "arm 'c', baseline='b': must not have a baseline itself"),
        ((A, B), (("a", "x"),), "arm='x': must be one of a, b"),
        ((A, B), (("a", "a"),), r"\('a', 'a'\): must be pairs of two different arms"),
    ],
)
def test_inconsistent_experiments_are_refused(arms, pairs, message):
    with pytest.raises(ValueError, match=message):
        lab.Experiment("e", "?", arms, pairs)


def test_pairs_follow_the_order_of_arms():
    experiment = lab.Experiment("e", "?", (B, A))
    assert experiment.pairs == ((B, A),)
    assert experiment.names == ("b", "a")
    assert experiment.title == "e"
