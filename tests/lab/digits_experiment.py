"""An experiment that trains in seconds: four small networks on slices of the digits."""

from fcnjax import lab

CONFIG = """
from fcnjax.training.settings.default_config import digits_config


def get_config():
    return digits_config("fcn", "any_size_digits", epochs=1, batch_size=16, max_buckets=1)
"""
OVERRIDES = {
    "data.train_split": "train[:120]",
    "data.validation_split": "validation[:60]",
    "data.test_split": "test[:60]",
    "model.channels": (4,),
}
LINEAR, HIDDEN = {"head.hidden": ()}, {"head.hidden": (8,)}


def tiny_experiment(**changes) -> lab.Experiment:
    """Returns the experiment; its config is at `configs/tiny.py`."""
    fields = {
        "name": "tiny",
        "question": "Does a hidden layer help?",
        "settings": {
            "digits": lab.Setting("tiny.py", seeds=1, folds=2, overrides=OVERRIDES),
            "few": lab.Setting("tiny.py", seeds=2, folds=2, train_examples=40, overrides=OVERRIDES),
        },
        "arms": (
            lab.Arm("linear", "linear", LINEAR, "pool -> linear 10"),
            lab.Arm("hidden", "hidden", HIDDEN, "pool -> linear 8 -> linear 10"),
            lab.Arm("linear-again", "linear, other seeds", LINEAR, salt=1),
            lab.Arm("shuffled", "labels shuffled", LINEAR, sources=lab.shuffled_labels(), control=True),
        ),
        "claims": (
            lab.Superiority("A hidden layer is better", lab.difference("hidden", "linear"), margin=0.3),
            lab.Equivalence("Two sets of seeds are equally good", lab.difference("linear", "linear-again"), margin=0.3),
            lab.Superiority("Shuffled labels are better", lab.difference("shuffled", "linear"), control=True),
        ),
        "measures": (lab.Scores(),),
        "tuned": (0.5, 1.0),
    }
    return lab.Experiment(**{**fields, **changes})
