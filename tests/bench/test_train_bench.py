"""The result of `fcnjax bench train` on a few sizes, and the batches that its timed programs train on."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from fcnjax.bench import layers, native_sizes, overheads
from fcnjax.bench import train as train_bench
from fcnjax.bench.arms import REPEATABLE, TORCH_ARMS, TORCH_COMPILE, TORCH_DENSE, UNREPEATABLE, default_arms
from fcnjax.bench.budget import Budget
from fcnjax.bench.native_sizes import drawn_within, full, of_one_size, one_by_one, planned
from fcnjax.bench.side_by_side import SideBySide
from fcnjax.bench.workload import DENSE, FLAX, MASKED, OURS, RAGGED, Workload, image_workload
from fcnjax.commands.main import main
from fcnjax.data import plan_buckets
from fcnjax.data.size_table import areas

SIZES = np.random.default_rng(0).integers(16, 32, (60, 2))
BUDGET = 3000
ALL = 10**6  # steps: the whole epoch


def examples(stretch) -> Counter:
    """Returns how often each size occurs among the real examples."""
    return Counter(tuple(size) for rows in stretch.steps for size in rows.sizes.tolist() if all(size))


def test_a_whole_epoch_holds_every_example_once():
    expected = Counter(map(tuple, SIZES.tolist()))
    for stretch in (planned(SIZES, plan_buckets(SIZES, 4, pixel_budget=BUDGET), ALL), of_one_size(SIZES, BUDGET, ALL)):
        assert examples(stretch) == expected
        assert stretch.real == areas(SIZES).sum()
        assert len(stretch.steps) == stretch.epoch_steps
        assert len({rows.program for rows in stretch.steps}) == stretch.epoch_programs
        assert all(math.prod(rows.program) <= BUDGET for rows in stretch.steps)


def test_only_planned_batches_hold_padding():
    assert of_one_size(SIZES, BUDGET, ALL).about()["waste"] == 0
    plan = plan_buckets(SIZES, 4, pixel_budget=BUDGET)
    assert planned(SIZES, plan, ALL).about()["waste"] >= plan.waste(SIZES) > 0
    assert native_sizes.dense(SIZES, BUDGET, 3).about()["waste"] == 0


def test_a_stretch_of_the_caltech_epoch_has_the_waste_of_the_whole_epoch():
    sizes = native_sizes.scaled_sizes(None, 0.4)
    plan = plan_buckets(sizes, 8, pixel_budget=2**17)
    some, whole = planned(sizes, plan, 32), planned(sizes, plan, ALL)
    assert len(sizes) == 8677
    assert len(some.steps) == 32
    assert some.about()["waste"] == pytest.approx(whole.about()["waste"], abs=0.02)


def test_one_by_one_leaves_filler_rows_out():
    stretch = planned(SIZES, plan_buckets(SIZES, 4, pixel_budget=BUDGET), ALL)
    steps = one_by_one(stretch)
    assert len(steps) == len(stretch.steps)
    alone = Counter(rows.shape for step in steps for rows in step)
    assert alone == examples(stretch)
    assert all(rows.sizes.tolist() == [list(rows.shape)] for step in steps for rows in step)


def test_pytorch_sums_the_gradients_of_the_batches_of_a_step():
    pytest.importorskip("torch")
    work = layers.Workload(batch_size=3, size=(16, 12), channels=(4, 6))
    once, twice = layers.make_torch_step(work), layers.make_torch_step(work)
    twice._steps = [twice._steps[0] * 2]  # the same batch twice: the same mean loss, and the same gradient
    np.testing.assert_allclose([float(twice()) for _ in range(3)], [float(once()) for _ in range(3)], rtol=1e-5)


def test_the_command_prints_and_writes_ratios_that_follow_from_its_rates(tmp_path, capsys):
    table, written = tmp_path / "sizes.csv", tmp_path / "made" / "train.json"
    lines = [f"{height},{width}" for height, width in SIZES[:12].tolist()]
    table.write_text("\n".join(["height,width", *lines]))
    tiny = ("--scale=1", "--shapes=2", f"--pixel_budget={BUDGET}", "--steps=4", "--epochs=2", "--rounds=1")
    command = ["fcnjax", "bench", "train", f"--sizes={table}", *tiny, "--nowarm_start", f"--json={written}"]
    assert main(command) == 0
    out, result = capsys.readouterr().out, json.loads(written.read_text())
    rates = {name: rate["median"] for name, rate in result["megapixels_per_s"].items()}
    for key, name in train_bench.OVER.items():
        if name == TORCH_COMPILE:  # not by default on a CPU
            continue
        assert key in out
        if name in rates:
            assert result[key] == pytest.approx(rates[train_bench.OURS] / rates[name])
        else:
            assert result[key] is None
            assert "torch" in name
    pixels, seconds = 2 * areas(SIZES[:12]).sum() / 1e6, {}
    for name in (train_bench.OURS, train_bench.PER_SHAPE):
        programs = result["stretches"][name]["epoch_programs"]
        seconds[name] = pixels / rates[name] + programs * result["compile_s"][name]
    expected = seconds[train_bench.PER_SHAPE] / seconds[train_bench.OURS]
    assert result["vs_compile_per_shape"] == pytest.approx(expected)
    assert result["shapes"] == len(result["rectangles"]) == 2
    assert result["stretches"][train_bench.PER_SHAPE]["waste"] == 0
    assert result["stretches"][train_bench.PER_SHAPE]["epoch_programs"] == len(np.unique(SIZES[:12], axis=0))
    assert result["warm_start_s"] is None
    assert result["host_overhead_ms"] > 0
    assert result["sizes_file"] == "sizes.csv"
    assert set(result["notes"]) <= set(TORCH_ARMS)
    assert (result["dtype"], result["precision"]) == ("float32", "float32")
    for name, images in result["images_per_s"].items():
        stretch = result["stretches"][name]
        pixels = rates[name] * 1e6 / images  # of an example
        tflops = result["model_tflops_per_s"][name]
        assert 16**2 <= pixels <= 32**2
        assert stretch["examples"] > 0
        assert result["peak_share"][name] == pytest.approx(tflops / result["matrix_peak_tflops"])
        assert (result["memory_bytes"][name] or 0) > (0 if name not in TORCH_ARMS else -1)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--scale=0",), "scale=0.0: must be greater than 0"),
        (("--scale=0.01",), "below this network's minimum size"),
        (("--pixel_budget=100",), "pixel_budget=100: must be"),
        (("--sizes=none.csv",), "none.csv"),
        (("--arms=planed",), "unknown arm 'planed': did you mean 'planned'?"),
        (("--seconds=0",), "--seconds=0"),
        (("--size=48",), "--size=48: must have a height and a width"),
        (("--batch_size=8",), "--batch_size=8: must not be given for fcn"),
        (("--network=resnet19",), "resnet19"),
    ],
)
def test_what_cannot_be_measured_gets_a_sentence(arguments, part, capsys):
    assert main(["fcnjax", "bench", "train", "--nowarm_start", *arguments]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_examples_that_pytorch_cannot_normalize_are_refused():
    with pytest.raises(ValueError, match=r"example 1 of size 15x15 .* larger scale"):
        Workload(np.array([[15, 16], [15, 15]]))


TINY = Workload(SIZES[:12], shapes=1, pixel_budget=BUDGET, steps=2, channels=(4, 4, 4))


def test_ragged_sizes_stay_within_the_shape_and_above_the_minimum():
    whole = full((40, 20), rows=200, steps=3)
    ragged = drawn_within(whole, 0.85, np.array([19, 1]))
    sizes = ragged.steps[0].sizes
    assert sizes.min(axis=0).tolist() == [34, 17]
    assert sizes.max(axis=0).tolist() == [40, 20]
    assert ragged.padded == whole.padded == whole.real > ragged.real
    assert drawn_within(whole, 0.85, np.array([40, 20])).real == whole.real


def test_model_operations_are_counted_at_the_sizes_of_the_examples():
    """ResNet-50 needs 4.09 G multiply-adds for an image of 224 x 224 (He et al., 2016, with v1.5's strides)."""
    work = image_workload(None, image=(224, 224), rows=2, fields={"network": "resnet50", "steps": 3})
    assert work.train_flops(work.stretches[DENSE]) == pytest.approx(3 * 2 * 3 * 2 * 4.09e9, rel=1e-3)
    stretch = planned(SIZES, plan_buckets(SIZES, 4, pixel_budget=BUDGET), ALL)
    each = [sum(row.multiply_adds for row in TINY.model.trace(size)) for size in SIZES.tolist()]
    assert TINY.train_flops(stretch) == pytest.approx(6 * sum(each), rel=1e-12)


@pytest.mark.usefixtures("on_a_cpu")
def test_the_default_arms_of_the_threads_network_on_a_cpu_are_the_published_ones():
    published = {"planned", "dense", "padded to max", "one size a batch"}
    published |= {"torch one by one", "torch one size a batch", "torch dense"}
    assert set(default_arms(TINY)) == published
    work = image_workload(None, fields={"network": "resnet18"})
    assert {MASKED, RAGGED, DENSE, OURS, FLAX} <= set(default_arms(work))
    assert math.prod(work.image or ()) * 8 == work.pixel_budget


def test_every_change_is_saved_and_an_arm_that_fails_costs_only_itself():
    saved = []
    arms = [DENSE, MASKED, RAGGED, FLAX, REPEATABLE, UNREPEATABLE]
    result = train_bench.measure(TINY, 2, arms=arms, warm_start=False, save=saved.append)
    assert [len(each["images_per_s"]) for each in saved] == [1, 2, 3, 4, 5, 5, 5]
    assert [each["rounds"] for each in saved] == [0] * 5 + [1, 2]
    assert result["notes"] == {
        FLAX: "network=fcn: must be one of resnet18, resnet34, resnet50 for the arm 'plain flax'."
    }
    images = result["images_per_s"]
    assert images.keys() == {*arms} - {FLAX}
    assert result["mask_speed"] > 0
    assert result["deterministic_speed"] > 0
    assert result["vs_dense"] is None


def test_what_does_not_fit_the_time_is_left_out_and_noted():
    result = train_bench.measure(TINY, 3, arms=[DENSE, MASKED, OURS], seconds=0.001, warm_start=False)
    assert result["images_per_s"].keys() == {DENSE}
    assert result["rounds"] == 1
    assert result["notes"].keys() == {MASKED, OURS, "rounds"}
    assert "left out of the rounds" in result["notes"][MASKED]  # it was compiled together with the first arm
    assert "give --seconds=" in result["notes"][OURS]


def test_an_arm_that_fails_in_a_round_leaves_the_others_and_says_why():
    side = SideBySide(TINY, [DENSE, MASKED], Budget(1000))
    side.prepare()
    turns = []

    def run(steps):
        turns.append(steps)
        if len(turns) == 2:
            raise MemoryError("no memory\nleft")

    side.ready[MASKED].run = run
    side.measure(3)
    assert turns == [2, 2]
    assert side.notes == {MASKED: "left out in round 2: MemoryError: no memory"}
    assert side.milliseconds.keys() == {DENSE}
    assert len(side.milliseconds[DENSE]) == side.rounds == 3


def test_arms_that_cannot_run_at_all_are_an_error():
    with pytest.raises(ValueError, match="none could run: .*must be one of resnet18"):
        train_bench.measure(TINY, 1, arms=[FLAX], warm_start=False)


def test_another_network_is_measured_on_images(tmp_path, capsys):
    written = tmp_path / "train.json"
    tiny = ("--size=32x32", "--batch_size=2", "--steps=1", "--rounds=1", "--shapes=2", "--dtype=bfloat16")
    arms = f"--arms={DENSE}, {RAGGED},{OURS},{TORCH_DENSE}"
    assert main(["fcnjax", "bench", "train", "--network=all_cnn_c", *tiny, arms, f"--json={written}"]) == 0
    result = json.loads(written.read_text())
    assert result["images_per_s"].keys() == {DENSE, RAGGED, OURS}
    assert result["notes"].keys() == {TORCH_DENSE}  # torchvision has no such network, or is not installed
    assert result["dtype"] == "bfloat16"
    assert result["stretches"][RAGGED]["waste"] > result["stretches"][DENSE]["waste"] == 0
    captured = capsys.readouterr()
    assert f"{DENSE}: " in captured.err
    assert "all_cnn_c, bfloat16" in captured.out


@pytest.mark.slow  # starts a training process three times
def test_the_first_step_of_a_process_is_timed_and_one_that_fails_says_why():
    work = Workload(SIZES, shapes=1, pixel_budget=BUDGET, channels=(4, 4, 4))
    cold, warm = overheads.first_step_seconds(work.recipe(), SIZES)
    assert cold > 0
    assert warm > 0
    with pytest.raises(RuntimeError, match="max_buckets"):
        overheads.first_step_seconds(work.recipe() | {"max_buckets": 0}, SIZES)
