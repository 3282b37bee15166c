"""Images and signals: does what holds of the heads of images hold of those of signals, with the same code?

Run `python -m experiments.images_and_signals`. After an interruption, the same command does the missing runs.
`--data=spoken` asks the same of recordings: those of the Free Spoken Digit Dataset, in the folder
`free_spoken_digit/recordings` of `$FCNJAX_SHARED_DATA`, by default `../shared/data`.
"""

from experiments import shared_data
from fcnjax import lab

# Every field of the head that the descriptions of the arms state, so that none of them comes from the config.
LINEAR = {"head.hidden": (), "head.norm": "none", "head.dropout": 0.0, "head.log_softmax": False, "head.pool": "mean"}
HIDDEN = {**LINEAR, "head.hidden": (128,), "head.activation": "relu"}
MAXIMUM = {**HIDDEN, "head.pool": "max"}
AVERAGED = {**LINEAR, "head.log_softmax": True, "head.pool": "logsumexp", "head.pool_r": 1.0}
GAP, CONV = {"head.pool_at": 0}, {"head.pool_at": 3}
# Kernels of three taps, which have a middle row; the fcn of the other arms has four, and no image of height 1.
RESNET = {"model.name": "resnet_cifar", "model.depth": 8, "model.width": 16}
RESNET |= dict.fromkeys(("model.channels", "model.norm", "model.activation"))  # of the fcn
NOISE = 2.1  # times as loud as the tones: hidden heads miss 4 % of them, and 15 % among further noise
TONES, SHUFFLED = lab.tones(NOISE), lab.tones(NOISE, lab.shuffled_labels())
AMONG = lab.tones(NOISE, lab.among_noise(0.25))
# The configs of digits have augmentations of images; buckets of round sizes fit the signals of every draw.
OF_SIGNALS = {f"augment.{name}": 0.0 for name in ("rotation", "scale", "shear", "shift")} | {"multiple_of": 128}
RECORDINGS = {"data.data_dir": shared_data("free_spoken_digit/recordings")}

HEADS = (
    ("linear", "linear", {**LINEAR, **GAP}, "pool -> linear 10"),
    ("hidden-gap", "hidden, GAP-first", {**HIDDEN, **GAP}, "pool -> linear 128 -> ReLU -> linear 10"),
    ("hidden-conv", "hidden, conv-first", {**HIDDEN, **CONV}, "linear 128 -> ReLU -> linear 10 -> pool"),
    ("softmax", "softmax before pool", {**AVERAGED, "head.pool_at": 2}, "linear 10 -> softmax -> pool"),
    ("max-gap", "max pool first", {**MAXIMUM, **GAP}, "max pool -> linear 128 -> ReLU -> linear 10"),
    ("max-conv", "max pool last", {**MAXIMUM, **CONV}, "linear 128 -> ReLU -> linear 10 -> max pool"),
)


def same_function(what: str, name: str, arm: str, **options) -> lab.Exact:
    """Returns the claim that the order of a head called `name` is the same function."""
    return lab.Exact(what, f"functions differ, {name}", (arm,), at_most=1e-12, **options)


EXPERIMENT = lab.Experiment(
    name="images_and_signals",
    title="Do signals need other heads than images?",
    question=(
        "A signal has one spatial axis, an image two, and the same layers, heads and pools take both. Which orders of "
        "a head are one function on signals? Are the others equally accurate, also where a signal is a part of a "
        "longer one and the rest is noise?"
    ),
    varies="head",
    size_unit="samples",
    settings={
        "tones": lab.Setting("configs/digits.py", overrides=OF_SIGNALS, seeds=4, folds=5),
        "spoken": lab.Setting("configs/free_spoken_digit.py", overrides=RECORDINGS, train_examples=600),
    },
    arms=(
        *(lab.Arm(*head, sources=TONES) for head in HEADS),
        lab.Arm("among-gap", "among noise, GAP-first", {**HIDDEN, **GAP}, "as hidden, GAP-first", AMONG),
        lab.Arm("among-conv", "among noise, conv-first", {**HIDDEN, **CONV}, "as hidden, conv-first", AMONG),
        lab.Arm("resnet", "ResNet-8", {**LINEAR, **GAP, **RESNET}, "another network, pool -> linear 10", TONES),
        lab.Arm("hidden-again", "hidden, other seeds", {**HIDDEN, **GAP}, "A/A: hidden, GAP-first", TONES, salt=1),
        lab.Arm("shuffled", "shuffled labels", {**HIDDEN, **GAP}, "as hidden, GAP-first", SHUFFLED, control=True),
    ),
    measures=(
        lab.Scores(),
        lab.AsImages("resnet"),
        lab.SameFunction("linear", "conv-first", (("head.pool_at", 1),)),
        lab.SameFunction("hidden-conv", "pool before the classifier", (("head.pool_at", 2),)),
        lab.SameFunction("hidden-gap", "conv-first", (("head.pool_at", 3),)),
    ),
    claims=(
        lab.Equivalence(
            "Across a ReLU, pooling first and classifying first are equally accurate within a point",
            lab.difference("hidden-gap", "hidden-conv"),
        ),
        lab.Superiority(
            "Among noise, classifying first is more accurate than pooling first",
            lab.difference("among-conv", "among-gap"),
            margin=0.05,
            unit="points of accuracy among noise",
        ),
        lab.Exact(
            "An image of height 1 has the logits of the signal that is its row",
            "logits differ, as images of height 1",
            ("resnet",),
            at_most=1e-12,
        ),
        same_function("With a linear head and the mean, both orders are one function", "conv-first", "linear"),
        same_function(
            "With a hidden layer, pooling before or after the last linear layer is one function",
            "pool before the classifier",
            "hidden-conv",
        ),
        lab.Exact(
            "An image of two rows has the logits of the signal that is both of them",
            "logits differ, as images of height 2",
            ("resnet",),
            at_most=1e-12,
            control=True,
        ),
        same_function("With a hidden layer, both orders are one function", "conv-first", "hidden-gap", control=True),
        lab.shuffled_costs_little("hidden-gap", "shuffled"),
        lab.same_with_other_seeds("hidden-gap", "hidden-again"),
        *(
            lab.Superiority(words, contrast, exploratory=True)
            for words, contrast in (
                ("A linear head is more accurate than softmax before the pool", lab.difference("linear", "softmax")),
                ("The maximum is more accurate first than last", lab.difference("max-gap", "max-conv")),
                (
                    "Among noise, pooling first loses more accuracy than classifying first",
                    (
                        *lab.difference("hidden-gap", "among-gap"),
                        *lab.difference("among-conv", "hidden-conv"),
                    ),
                ),
            )
        ),
    ),
    findings={
        "tones": lab.Finding(
            "Heads of signals show the signs of those of images, by the same code: linear orders are one function, and "
            "orders across a ReLU are equally accurate within a point (0.23 [-0.19, 0.66]; one arm with other seeds "
            "differs by 0.53). Where the tones are a quarter of the signal or more, and the rest is noise, classifying "
            "first is 3.2 points [2.3, 4.1] more accurate than pooling first: less than the margin of 5, and the sign "
            "of a small object on a large canvas. Without a verdict, softmax before the pool costs 6 points and a "
            "maximum that comes last 28, more than with images.",
            ("holds", "holds", "holds", "holds", "holds", "fails", "fails", "fails"),
        ),
        "spoken": lab.Finding(
            "Recordings of spoken digits show the same signs, at smaller sizes: orders across a ReLU are equally "
            "accurate within a point (97.6 and 97.8 %; -0.16 [-0.43, 0.11]), and where the digit is a quarter of "
            "the recording or more, among noise as loud as itself, classifying first is 1.4 points [0.8, 1.9] more "
            "accurate, less than the margin of 5. Without a verdict, softmax before the pool costs 0.9 points [0.4, "
            "1.4] and a maximum that comes last 2.0 [1.3, 2.7].",
            ("holds", "holds", "holds", "holds", "holds", "fails", "fails", "fails"),
        ),
    },
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
