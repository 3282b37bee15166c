"""Sources for a run: splits that match, examples that are too small, and data that have changed."""

import numpy as np
import pytest
from PIL import Image
from synthetic_data import make_recipe, make_sources

from fcnjax.data import ArraySource, UnreadableExample, as_source, plan_buckets
from fcnjax.data.files import folder_layout
from fcnjax.data.files.listing import list_folder
from fcnjax.training import DataSettings, Recipe, Trainer, build, train
from fcnjax.training.build import abstract_model, fit_sources, make_buckets, read_sources
from fcnjax.training.run import describe_run


def splits(**changes):
    pairs = [(np.ones((8 + index, 9, 1), np.float32) * index, index % 2) for index in range(6)]
    return {name: list(pairs) for name in ("train", "validation", "test")} | changes


def test_lists_of_pairs_are_sources(tmp_path):
    run = train(
        make_recipe(epochs=1), tmp_path / "run", trainer=Trainer(make_recipe(epochs=1), splits()), progress=False
    )
    assert run.test.count == 6


def test_a_missing_or_other_split_is_named():
    with pytest.raises(ValueError, match="sources: must hold 'test'"):
        fit_sources(make_recipe(), {name: rows for name, rows in splits().items() if name != "test"})
    three = [(np.ones((8, 9, 3), np.float32), index) for index in range(2)]
    with pytest.raises(ValueError, match="the test split has channels 3, the train split 1"):
        fit_sources(make_recipe(), splits(test=three))


def test_the_border_of_a_config_is_the_networks():
    for border, expected in ((None, "zero"), ("circular", "circular")):
        recipe = make_recipe(model={"border": border}, head={"kernel": 3})
        model = abstract_model(recipe, fit_sources(recipe, splits())["train"])
        assert [layer.border for layer in (model.blocks[0].layers[0], model.head.layers[0])] == [expected] * 2


def test_size_policies_hold_for_given_sources():
    sources = fit_sources(make_recipe(size={"max_side": 9}), splits())
    assert sources["train"].sizes.max() == 9


def test_size_policies_hold_for_splits_of_which_some_are_resized_already():
    recipe = make_recipe(size={"max_side": 9})
    resized = fit_sources(recipe, splits())["train"]
    sources = fit_sources(recipe, splits(train=resized))
    assert [source.sizes.max() for source in sources.values()] == [9, 9, 9]


def test_what_is_too_small_is_refused_or_left_out_and_named():
    small = [*splits()["train"], (np.ones((1, 900, 1), np.float32), 1)]
    with pytest.raises(ValueError, match="below this network's minimum size .* Or set config.size.below"):
        Trainer(make_recipe(), splits(train=small))
    named = as_source(small)
    named.names = [f"caf\udce9{index}.png" for index in range(7)]
    with pytest.raises(ValueError, match=r"train split: caf\\udce96.png of size 1x900: below this network's minimum"):
        Trainer(make_recipe(), splits(train=named))
    trainer = Trainer(make_recipe(data={"on_error": "mask"}), splits(train=small))
    assert len(trainer.sources["train"]) == 6
    assert trainer.feed.unreadable == {"example 6": "its size 1x900 is below the minimum 4x4"}


def test_what_the_caps_make_too_small_is_left_out_with_both_sizes():
    thin = [*splits()["train"], (np.ones((6, 90, 1), np.float32), 1)]
    recipe = make_recipe(data={"on_error": "mask"}, size={"max_side": 30})
    trainer = Trainer(recipe, splits(train=thin))
    assert trainer.feed.unreadable == {"example 6": "its size 2x30 (resized from 6x90) is below the minimum 4x4"}


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    recipe = make_recipe(epochs=1)
    other = splits()["train"][:5]
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", trainer=Interrupted(recipe, splits()), progress=False)
    with pytest.raises(FileExistsError, match="the examples of its train split have changed"):
        train(recipe, tmp_path / "run", trainer=Trainer(recipe, splits(train=other)), progress=False)
    assert train(recipe, tmp_path / "run", trainer=Trainer(recipe, splits()), progress=False).test.count == 6


def test_a_split_of_which_nothing_can_be_decoded_ends_no_run(tmp_path):
    recipe = make_recipe(epochs=1, data={"on_error": "mask"})
    bad = Unreadable([np.ones((9, 9, 1), np.float32)] * 3, [0, 1, 1])
    run = train(recipe, tmp_path / "run", trainer=Trainer(recipe, splits(test=bad)), progress=False)
    assert (run.test.count, run.test.unreadable, run.test.accuracy) == (0, 3, 0)
    assert np.isnan(run.test.logits).all()


class Interrupted(Trainer):
    """Stops before the first step."""

    def fit(self, state, seed):
        raise KeyboardInterrupt


class Unreadable(ArraySource):
    """Every example is damaged."""

    def __getitem__(self, index, /):
        raise UnreadableExample(f"{index}.png", "cut off")


def test_buckets_are_planned_once_for_the_same_sizes(tmp_path, monkeypatch):
    recipe, sources = make_recipe(pixel_budget=400), fit_sources(make_recipe(), splits())
    first = make_buckets(recipe, sources, cache_dir=tmp_path)
    planned = []
    monkeypatch.setattr(build, "plan_buckets", lambda *sizes, **options: planned.append(1) or first)
    again = make_buckets(recipe, sources, cache_dir=tmp_path)
    assert not planned
    np.testing.assert_array_equal(again.shapes, first.shapes)
    np.testing.assert_array_equal(again.batch_sizes, first.batch_sizes)
    others = fit_sources(make_recipe(), splits(test=[(np.ones((8, 10, 1), np.float32), label) for label in (0, 1)]))
    make_buckets(recipe, others, cache_dir=tmp_path)
    make_buckets(make_recipe(pixel_budget=500), sources, cache_dir=tmp_path)
    make_buckets(recipe, sources)
    assert len(planned) == 3  # other sizes, another budget, no cache
    for file in tmp_path.glob("plan-*.json"):
        file.write_text(file.read_text()[:20])
    make_buckets(recipe, sources, cache_dir=tmp_path)
    assert len(planned) == 4  # damaged: planned again


@pytest.mark.parametrize("batching", ["bucket", "mixed"])
@pytest.mark.parametrize("area", [1.0, 0.3])
def test_buckets_are_planned_for_the_crops_of_mixed_batches_alone(batching, area):
    recipe = make_recipe(batching=batching, crop={"area": (area, 1.0)}, max_buckets=3)
    rng = np.random.default_rng(0)
    sources = {
        name: ArraySource([np.ones((*rng.integers(4, 40, 2), 1), np.float32) for _ in range(30)], [0, 1] * 15)
        for name in ("train", "validation", "test")
    }
    sizes = [source.sizes for source in sources.values()]
    if (batching, area) == ("mixed", 0.3):
        train = sources["train"]
        sizes += [recipe.crop.sizes(seed, 0, train.ids, train.sizes) for seed in (0, 1)]
    wanted = plan_buckets(np.concatenate(sizes), max_buckets=3)
    assert make_buckets(recipe, sources).shapes.tolist() == wanted.shapes.tolist()


def test_buckets_that_no_training_example_needs_have_rows_too():
    recipe = make_recipe(batching="mixed", batch_size=4, max_buckets=2)
    small, large = (ArraySource([np.ones((side, side, 1), np.float32)] * 6, [0, 1] * 3) for side in (5, 20))
    buckets = make_buckets(recipe, {"train": small, "validation": large, "test": large})
    plan = build.make_plan(recipe, small, buckets, None, 0)
    assert plan.rows_per_bucket.tolist() == [2, 1]


def test_a_bucket_of_one_batch_counts_among_the_programs():
    trainer = Trainer(make_recipe(max_buckets=1, batch_size=64), make_sources())
    assert trainer.plan(0).batches_per_bucket.tolist() == [1]
    assert "programs to compile: 1 for training, 1 for evaluation" in describe_run(trainer)


def test_a_folder_is_listed_once_for_its_splits_and_again_for_the_next_reading(tmp_path, monkeypatch):
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9)).save(tmp_path / name)
    listed = []
    monkeypatch.setattr(folder_layout, "list_folder", lambda root: listed.append(root) or list_folder(root))
    data = DataSettings("image_folder", "train", "test", "test", data_dir=str(tmp_path))
    assert len(read_sources(Recipe(data))["test"]) == 1
    assert len(listed) == 1
    Image.new("L", (9, 9)).save(tmp_path / "test/cat/2.png")
    assert len(read_sources(Recipe(data))["test"]) == 2
