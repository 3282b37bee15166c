"""Networks for raw signals with a log-mel front end: shapes, exactness under padding, and rejected arguments."""

import contract
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, models

SMALL = {"sample_rate": 10, "window": 0.4, "hop": 0.2, "mels": 3, "floor": 1e-3}  # 4 samples, 2 apart
MASKS = {"time_masks": 1, "time_width": 0.5, "frequency_masks": 1, "frequency_width": 0.5}
NETWORKS = {
    "fcn": {"channels": (4,), "kernel": 3},
    "resnet18": {"width": 4, "depths": (1,), "small": True},
}


def make(name="fcn", frontend=SMALL, **options):
    options = {"classes": 3, "in_channels": 2, "rank": 1, **NETWORKS[name], **options}
    return nnx.eval_shape(lambda: models.create(name, frontend=frontend, rngs=nnx.Rngs(0), **options))


def signals(*lengths):
    return contract.draw_examples([(length,) for length in lengths], 2, seed=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_contract(name):
    model = make(name)
    contract.check_drawn(model, 1, 2, minimum=model.min_size[0])
    contract.check_batch(model, signals(13, 12, 9))


@pytest.mark.parametrize(("name", "train"), [("fcn", False), ("fcn", True), ("resnet18", True)])
def test_padding_is_never_read(name, train):
    contract.check_poison(make(name, SMALL | MASKS), signals(8, 11), train=train)


def test_masks_in_training_are_exact_under_padding_too():
    model = make("fcn", SMALL | MASKS, norm="layer")
    contract.check_batch(model, signals(16, 13, 12))


def test_shapes_count_the_front_end():
    model = make()
    plain = nnx.eval_shape(
        lambda: models.create("fcn", classes=3, in_channels=6, rank=1, rngs=nnx.Rngs(0), **NETWORKS["fcn"])
    )
    assert (model.min_size, model.stride, model.receptive_field) == ((4,), (4,), (8,))  # frames of 4, 2 apart; 3 frames
    rows, rest = model.trace((100,)), plain.trace((49,))
    assert rows[0][:3] == ("input", (100,), 2)
    assert rows[1] == ("log_mel", (49,), 6, (4,), 12, 49 * 2 * (8 * 3 + 5 * 3))
    assert [(row.layer, row.size, row.channels, row.multiply_adds) for row in rows[2:]] == [
        (row.layer, row.size, row.channels, row.multiply_adds) for row in rest[1:]
    ]
    features = contract.call(contract.randomize(model), Padded.stack(signals(100)), method="features")
    assert features.spatial_shape == model.feature_size((100,)) == rows[2].size


def test_signals_shorter_than_a_window_are_refused():
    with pytest.raises(ValueError, match="example 1 of size 3: below this network's minimum size 4"):
        contract.randomize(make())(Padded.stack(signals(9, 3)))


def test_spectrograms_are_computed_in_the_inputs_dtype():
    """One tone is a thousand times fainter than the other: rounding the samples to bfloat16 would drown it."""
    times = np.arange(400)[:, None] / 100
    loud, faint = np.sin(2 * np.pi * 8 * times), 1e-3 * np.sin(2 * np.pi * 40 * times)
    options = {"sample_rate": 100, "window": 0.64, "hop": 0.32, "mels": 8, "floor": 1e-9}
    batch = Padded.stack([(loud + faint).astype(np.float32)])
    fine, coarse = (make("fcn", options, in_channels=1, dtype=dtype) for dtype in (None, "bfloat16"))
    assert contract.call(contract.randomize(coarse), batch).dtype == jnp.float32
    seen = [contract.call(contract.randomize(model), batch, method="features").values for model in (fine, coarse)]
    assert [values.dtype for values in seen] == [jnp.float32, jnp.bfloat16]
    scale = np.abs(seen[0]).max()
    assert 1e-5 * scale < np.abs(seen[0] - seen[1].astype(jnp.float32)).max() < 0.05 * scale


@pytest.mark.parametrize(
    ("frontend", "options", "message"),
    [
        ({"mel": 40}, {}, "unknown option of the front end 'mel': did you mean 'mels'"),
        ({"in_channels": 2}, {}, "unknown option of the front end 'in_channels'"),
        ({"stream": 2}, {}, "unknown option of the front end 'stream'"),
        ({"time_width": 2.0}, {}, "time_width=2.0 of the spectrogram: must be 0 to 1"),
        (
            {"hop": 0.01},
            {"rank": 2},
            "frontend={'hop': 0.01} with rank=2: must be None unless rank=1 .signals.; give the network rank=1",
        ),
    ],
)
def test_create_refuses(frontend, options, message):
    with pytest.raises(ValueError, match=message):
        make("fcn", frontend, **options)


def test_networks_with_class_maps_of_the_inputs_size_are_refused():
    small = {"width": 3, "depths": (1, 1, 1, 1, 1), "hidden": 5, "decoder": 4}
    with pytest.raises(ValueError, match="front end .log_mel.: must not precede a network whose class maps have"):
        nnx.eval_shape(
            lambda: models.create("fcn8s", classes=3, in_channels=1, rank=1, frontend={}, rngs=nnx.Rngs(0), **small)
        )
