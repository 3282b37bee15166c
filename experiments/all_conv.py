"""All convolutional: how should a network get its receptive field, by strides, max pooling or dilation?

Run `python -m experiments.all_conv`. After an interruption, the same command does the missing runs.
"""

from fcnjax import lab

SMALL, LARGE = ((20, 20), (24, 24)), ((34, 34), (40, 40))  # pairs, as single sizes vary more from run to run
SIZES = ((16, 16), *SMALL, (28, 28), *LARGE)
ARMS = {
    "stride": "convolutions of stride 2: receptive field 22 px, 0.20 million multiply-adds at 28x28",
    "max_pool": "stride 1, then max pools of 2x2: receptive field 29 px, 0.91 million",
    "dilation": "stride 1 and dilations 1, 2 and 4: receptive field 22 px, 8.4 million",
    "none": "stride 1: receptive field 10 px, 8.4 million",
}


def at(size: tuple[int, int]) -> str:
    """Returns the name of the accuracy at a size."""
    return f"accuracy, scaled to {size[0]}x{size[1]}"


def overrides_of(downsampling: str) -> dict[str, object]:
    """Returns the overrides of an arm: networks that are narrow enough for a CPU at stride 1."""
    return {"model.channels": (8, 16, 32), "model.downsampling": downsampling}


def growth(arm: str, other: str) -> tuple[lab.Term, ...]:
    """Returns by how much more accurate an arm is than another one on large digits, beyond that on small ones."""
    signs = dict.fromkeys(LARGE, 1) | dict.fromkeys(SMALL, -1)
    pairs = [(size, sign * 0.5) for size, sign in signs.items()]
    return tuple(lab.Term(each, at(size), w * way) for size, w in pairs for each, way in ((arm, 1), (other, -1)))


EXPERIMENT = lab.Experiment(
    name="all_conv",
    title="Strides, max pooling or dilation?",
    question=(
        "A stack of convolutions sees more of an image if each halves the size by its stride, or a max pool after it "
        "does, or if later ones are dilated. Which is more accurate with the same 10,810 weights, and does it depend "
        "on how large the receptive field is relative to the object? Every test digit is shown at several sizes."
    ),
    varies="blocks",
    settings={"digits": lab.Setting("configs/digits.py", seeds=3, folds=5, blocks=26)},
    arms=(
        *(lab.Arm(name, name.replace("_", " "), overrides_of(name), words) for name, words in ARMS.items()),
        lab.Arm("stride-again", "stride, other seeds", overrides_of("stride"), "A/A: as stride", salt=1),
        lab.Arm(
            "shuffled",
            "shuffled labels",
            overrides_of("stride"),
            "as stride, trained on shuffled labels",
            sources=lab.shuffled_labels(),
            control=True,
        ),
    ),
    measures=(lab.Scores(), lab.AtSizes(SIZES), lab.ReceptiveFields((10,), arms=tuple(ARMS))),
    claims=(
        lab.Superiority(
            "The lead of a receptive field of 22 px over one of 10 px is larger on digits of 34 and 40 px than on the "
            "same digits at 20 and 24 px",
            growth("dilation", "none"),
            margin=0.05,
        ),
        lab.Equivalence(
            "Strides and max pools are equally accurate within two points",
            lab.difference("stride", "max_pool"),
            margin=0.02,
        ),
        lab.Equivalence(
            "With the same receptive field, strides and dilations are equally accurate within two points",
            lab.difference("stride", "dilation"),
            margin=0.02,
        ),
        lab.Exact(
            "No feature depends on pixels outside of the receptive field of its network",
            "features change, outside of the receptive field",
            tuple(ARMS),
            at_most=1e-10,
        ),
        lab.Exact(
            "No feature of the network without strides, pools and dilations depends on pixels outside of 10 px",
            "features change, outside of 10 px",
            ("none",),
            at_most=1e-10,
        ),
        lab.Exact(
            "No feature of the dilated network depends on pixels outside of 10 px",
            "features change, outside of 10 px",
            ("dilation",),
            at_most=1e-10,
            control=True,
        ),
        lab.shuffled_costs_little("stride", "shuffled"),
        lab.same_with_other_seeds("stride", "stride-again"),
        lab.Superiority(
            "The lead of max pools over strides is larger on digits of 34 and 40 px than on the same at 20 and 24 px",
            growth("max_pool", "stride"),
            exploratory=True,
        ),
        *(
            lab.Superiority(
                f"At {size[0]}x{size[1]}, a receptive field of 22 px is more accurate than one of 10 px",
                lab.difference("dilation", "none", at(size)),
                exploratory=True,
            )
            for size in SIZES
        ),
    ),
    findings={
        "digits": lab.Finding(
            "With dilations, a receptive field of 22 px leads one of 10 px without them by 8.0 points [6.0, 10.0] more "
            "on digits of 34 and 40 px than on the same digits at 20 and 24 px. The field is not all: max pools, with "
            "29 px, have 82 % at 40x40, dilations with 22 px 89 % (no verdict). With the same weights, strides are 2.4 "
            "points [1.6, 3.2] less accurate than max pools and 2.6 [1.9, 3.3] than dilations, for a fifth and a "
            "fortieth of the multiply-adds; whether that is more than two is not decided. They also end at a higher "
            "training loss (0.21, against 0.11 and 0.13), at the highest learning rate that was tried. All-CNN "
            "(Springenberg et al.) lost nothing where a pool became an added convolution; none is added here.",
            ("holds", "not decided", "not decided", "holds", "holds", "fails", "fails"),
        )
    },
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
