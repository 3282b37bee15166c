"""Experiments, arms and settings refuse what cannot be run, decided or told apart."""

import dataclasses

import pytest

from fcnjax import lab
from fcnjax.lab.experiment import Experiment

A, B = lab.Arm("a", "A", {"head.hidden": (8,)}), lab.Arm("b", "B")
SETTINGS = {"digits": lab.Setting("configs/digits.py"), "mnist": lab.Setting("configs/mnist.py", seeds=5, folds=1)}
ONLY_MNIST = dataclasses.replace(B, settings=("mnist",))
BETTER = lab.Superiority("A is better than B", lab.difference("a", "b"))


def experiment(**changes) -> Experiment:
    fields = {
        "name": "e",
        "question": "?",
        "settings": SETTINGS,
        "arms": (A, B),
        "claims": (BETTER,),
        "measures": (lab.Scores(),),
    }
    return lab.Experiment(**{**fields, **changes})


def test_arms_and_settings_are_found_by_name():
    made = experiment()
    assert made.names == ("a", "b")
    assert made.arm("b") is B
    assert made.setting() is SETTINGS["digits"]
    assert made.setting("mnist").seeds == 5
    assert made.title == "e"
    with pytest.raises(ValueError, match=r"unknown arm of e 'c'.*a, b"):
        made.arm("c")
    with pytest.raises(ValueError, match=r"unknown data 'mist': did you mean 'mnist'"):
        made.setting("mist")


def test_arms_and_claims_of_one_setting_are_left_out_in_the_others():
    alone = lab.Exact("A is exact", "gap", ("a",), at_most=1.0)
    made = experiment(arms=(A, ONLY_MNIST), claims=(dataclasses.replace(BETTER, settings=("mnist",)), alone))
    assert made.within("mnist") is made
    assert (made.within("digits").arms, made.within("digits").claims) == ((A,), (alone,))
    assert made.within("digits").settings == made.settings
    with pytest.raises(ValueError, match=r"unknown data 'mist': did you mean 'mnist'"):
        made.within("mist")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "E!"}, "name='E!': must be a folder name"),
        ({"arms": ()}, "e: must have at least one arm and one setting"),
        ({"settings": {}}, "e: must have at least one arm and one setting"),
        ({"arms": (A, A, B)}, r"must have different names; \['a'\] repeat"),
        ({"arms": (A,)}, "unknown arm of e 'b'"),
        ({"findings": {"digits": "Yes."}}, "findings='Yes.' of digits: must be a lab.Finding"),
        ({"findings": {"digit": lab.Finding("Yes.", ())}}, "unknown data 'digit': did you mean 'digits'"),
        ({"arms": (A, dataclasses.replace(B, settings=("digit",)))}, "unknown data 'digit': did you mean 'digits'"),
        ({"claims": (dataclasses.replace(BETTER, settings=("mist",)),)}, "unknown data 'mist': did you mean 'mnist'"),
        ({"arms": (A, ONLY_MNIST)}, "'A is better than B': must be about arms of 'digits', which lacks b"),
        ({"claims": (BETTER, BETTER)}, r"must have different statements; \['A is better than B'\] repeat"),
    ],
)
def test_inconsistent_experiments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        experiment(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lab.Arm("A b", "A"), "name='A b': must be a folder name"),
        (lambda: lab.Arm("a", " "), "title=' ': must not be empty"),
        (lambda: lab.Setting("c.py", seeds=0), "seeds=0 of c.py: must be at least 1"),
        (lambda: lab.Setting("c.py", folds=0), "folds=0 of c.py: must be at least 1"),
        (lambda: lab.Setting("c.py", blocks=-1), "blocks=-1 of c.py: must be at least 0"),
        (lambda: lab.Setting("c.py", train_examples=0), "train_examples=0 of c.py: must be at least 1, or None"),
        (lambda: lab.Superiority("s", ()), "claim 's': must have a contrast of at least one term"),
        (lambda: lab.Equivalence("s", lab.difference("a", "b"), margin=0.0), "margin=0.0: must be above 0"),
        (lambda: lab.Finding(" ", ("holds",)), "text=' ' of a finding: must not be empty"),
        (lambda: lab.Finding("Yes.", ("hold",)), "of a finding: must be a tuple of holds, fails, not decided, no verd"),
        (lambda: lab.Finding("Yes.", "holds"), "verdicts='holds' of a finding: must be a tuple"),
        (lambda: lab.Exact("s", "n", ("a",)), "claim 's': must have one limit"),
        (lambda: lab.Exact("s", "n", ("a",), at_most=1, at_least=0), "claim 's': must have one limit"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_overrides_cannot_be_changed():
    with pytest.raises(TypeError):
        A.overrides["head.hidden"] = ()  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        A.name = "b"  # type: ignore[misc]


def test_a_contrast_names_each_arm_once():
    small, large = "accuracy, smallest third", "accuracy, largest third"
    within = (*lab.difference("a", "a", small, large), *lab.difference("b", "b", large, small))
    assert lab.Superiority("s", within).arms == ("a", "b")
    assert [(term.arm, term.metric, term.weight) for term in lab.difference("a", "a", small, large)] == [
        ("a", small, 1.0),
        ("a", large, -1.0),
    ]
