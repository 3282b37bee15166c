"""The result of `fcnjax bench train` on a few sizes, and the batches that its timed programs train on."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from fcnjax.bench import layers, native_sizes, overheads
from fcnjax.bench import train as train_bench
from fcnjax.bench.native_sizes import of_one_size, one_by_one, planned
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
    compared = {"vs_dense": train_bench.DENSE, "vs_pad_to_max": train_bench.MAX} | train_bench.TORCH
    for key, name in compared.items():
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


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--scale=0",), "scale=0.0: must be greater than 0"),
        (("--scale=0.01",), "below this network's minimum size"),
        (("--pixel_budget=100",), "pixel_budget=100: must be"),
        (("--sizes=none.csv",), "none.csv"),
    ],
)
def test_what_cannot_be_measured_gets_a_sentence(arguments, part, capsys):
    assert main(["fcnjax", "bench", "train", "--nowarm_start", *arguments]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_examples_that_pytorch_cannot_normalize_are_refused():
    with pytest.raises(ValueError, match=r"example 1 of size 15x15 .* larger scale"):
        train_bench.Workload(np.array([[15, 16], [15, 15]]))


@pytest.mark.slow  # starts a training process three times
def test_the_first_step_of_a_process_is_timed_and_one_that_fails_says_why():
    work = train_bench.Workload(SIZES, shapes=1, pixel_budget=BUDGET, channels=(4, 4, 4))
    cold, warm = overheads.first_step_seconds(work.recipe(), SIZES)
    assert cold > 0
    assert warm > 0
    with pytest.raises(RuntimeError, match="max_buckets"):
        overheads.first_step_seconds(work.recipe() | {"max_buckets": 0}, SIZES)
