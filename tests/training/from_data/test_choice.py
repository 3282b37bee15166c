"""The recipe chosen for data: it follows the data, every chosen field has a reason, and a change wins."""

import numpy as np
import pytest
from PIL import Image

from fcnjax.data import ArraySource
from fcnjax.training import Recipe
from fcnjax.training.from_data import choice as module
from fcnjax.training.from_data import choose_config, settle


def images(sizes, channels=1, dtype: type = np.uint8):
    rng = np.random.default_rng(0)
    values = [rng.integers(20, 220, (*size, channels)).astype(dtype) for size in sizes]
    return ArraySource(values, [index % 2 for index in range(len(values))], ["a", "b"])


def chosen(source, changes=None, asked=()):
    choice = choose_config(source)
    choice.change(changes or {})
    return settle(choice, Recipe.from_config(choice.config.to_dict()), asked)


def test_small_gray_images_get_the_network_of_the_thread():
    recipe, trainer, text = chosen(images([(10, 12), (16, 9)] * 20))
    assert (recipe.model.name, recipe.augment.flip, recipe.epochs, recipe.size.below) == ("fcn", 0.0, 60, "refuse")
    assert trainer.recipe == recipe
    assert "--config.model.name=fcn" in text
    assert text.startswith("arrays: 32 train, 4 validation, 4 test examples in 2 classes\n")
    assert "sizes   10x12 to 16x9, median 16x9; 1 channel\n" in text
    assert "the recipe, chosen for these arrays:\n" in text


def test_photographs_get_a_resnet_and_a_cap(monkeypatch):
    monkeypatch.setattr(module, "CAP", 70 * 70)
    choice = choose_config(images([(70, 90), (80, 66)] * 10, 3))
    model = choice.config.model
    assert (model.name, model.width, choice.config.augment.flip) == ("resnet18", 16, 0.5)
    assert choice.config.size.max_area == 4900
    assert {"model.name", "model.width", "augment.flip", "size.max_area"} <= choice.reasons.keys()


def test_mean_and_deviation_are_those_of_the_training_examples():
    source = images([(5, 9), (12, 3)] * 20, 3)
    choice = choose_config(source)
    pixels = np.concatenate([example.values.reshape(-1, 3) for example in choice.sources["train"]]) / 255
    np.testing.assert_allclose(choice.config.data.mean, pixels.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(choice.config.data.std, pixels.std(axis=0), rtol=1e-3)
    assert choose_config(ArraySource([np.ones((9, 9, 1))] * 20, [0, 1] * 10)).config.data.std == 1.0  # constant


def test_arrays_below_the_minimum_are_padded_and_it_is_said():
    recipe, _, text = chosen(images([(10, 12)] * 19 + [(4, 12)]))
    assert recipe.size.below == "pad"
    assert "1 example is below the network's minimum, 8x8: example 19 4x12" in text
    assert "8x12 to 10x12, median 10x12; 1 channel; before the size policy 4x12" in " ".join(text.split())


def test_a_thin_image_is_enlarged_to_the_minimum_within_the_caps_only(tmp_path):
    for index in range(20):
        folder = tmp_path / "ab"[index % 2]
        folder.mkdir(exist_ok=True)
        Image.new("L", (3000, 9) if index == 19 else (12, 9), index).save(folder / f"{index:02}.png")
    choice = choose_config(tmp_path)
    for size, way, said in (
        ({"max_side": 24}, "pad", "1 example is below the network's minimum, 8x8: b/19.png 1x24 (resized from 9x3000)"),
        ({"max_side": None, "min_side": 12}, "upsample", "20 examples are below the network's minimum, 12x12: "),
    ):
        choice.change({"size": size})
        recipe, reasons = Recipe.from_config(choice.config.to_dict()), {}
        assert module.fit_minimum(recipe, reasons, choice).size.below == way
        assert reasons["size.below"].startswith(said)


def test_batches_that_take_too_much_memory_get_a_budget(monkeypatch):
    source = images([(10, 12), (16, 9)] * 40)
    monkeypatch.setattr(module, "device_memory_bytes", lambda *device: 2**20)
    monkeypatch.setattr(module.Trainer, "rows_that_fit", lambda self, share: ((16, 12), 5))
    recipe, trainer, text = chosen(source)
    assert recipe.pixel_budget == trainer.recipe.pixel_budget == 960
    assert "5 rows of 16x12" in text


def test_a_change_wins_and_another_network_loses_the_options_of_the_chosen_one():
    choice = choose_config(images([(10, 12), (16, 9)] * 20))
    choice.change({"epochs": 3, "model": {"name": "resnet_cifar", "depth": 8}})
    recipe = Recipe.from_config(choice.config.to_dict())
    assert (recipe.epochs, recipe.model.name, recipe.model.depth, recipe.model.channels) == (3, "resnet_cifar", 8, None)
    _, _, text = chosen(images([(10, 12), (16, 9)] * 20), {"epochs": 3}, ["epochs"])
    assert "as you asked" in text
    assert "--config.epochs=3" in text


@pytest.mark.parametrize("axes", [1, 3])
def test_signals_and_volumes(axes):
    source = images([(16,) * axes, (20,) * axes] * 10, 1, np.float32)
    config = choose_config(source).config
    assert config.model.name == "fcn"
    assert not config.augment.flip


def test_one_class_and_classes_without_training_examples_are_refused():
    values = [np.ones((9, 9, 1), np.uint8)] * 20
    with pytest.raises(ValueError, match="must have at least two classes, and all examples are of 'cat'"):
        choose_config(ArraySource(values, [0] * 20, ["cat"]))
    sources = {
        "train": ArraySource(values, [0, 1] * 10, ["a", "b", "B"]),
        "test": ArraySource(values, [2] * 20, ["a", "b", "B"]),
    }
    with pytest.raises(ValueError, match=r"1 of 3 has none: 'B' \(20 in test; train has 'b', which differs in case\)"):
        choose_config(sources)
