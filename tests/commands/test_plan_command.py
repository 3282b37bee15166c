"""`fcnjax plan`: what it prints and draws, and one sentence for every mistake."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fcnjax.commands.main import main
from fcnjax.data import ArraySource
from fcnjax.training.build import SPLITS


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs `fcnjax plan ARGUMENTS` and returns its exit code, the printed rows split into words, and stderr."""
    monkeypatch.delitem(sys.modules, "config_config", raising=False)

    def run(*arguments: str) -> tuple[int, list[list[str]], str]:
        capsys.readouterr()
        code = main(["fcnjax", "plan", *arguments])
        out, error = capsys.readouterr()
        return code, [line.split() for line in out.splitlines() if line.strip() and "\u2500" not in line], error

    return run


@pytest.fixture
def sizes(tmp_path: Path) -> str:
    path = tmp_path / "sizes.csv"
    path.write_text("height,width\n" + "20,10\n" * 30 + "10,20\n" * 50 + "20,20\n" * 7)
    return f"--sizes={path}"


def test_prints_buckets_and_baselines(plan, sizes):
    code, rows, error = plan(sizes, "--max_buckets=3", "--pixel_budget=2000")
    assert (code, error) == (0, "")
    assert rows[0][:2] == ["87", "examples;"]
    # Bucket, examples, share, batch size, batches, waste, filler rows; worked out by hand.
    assert rows[2:5] == [
        ["10x20", "50", "57.5%", "10", "5", "0.000", "0"],
        ["20x10", "30", "34.5%", "10", "3", "0.000", "0"],
        ["20x20", "7", "8.0%", "5", "2", "0.000", "3"],
    ]
    # Buckets, waste, batches, filler rows, waste with them, programs; 87 examples hold 18,800 positions.
    assert rows[6:] == [
        ["planned", "3", "0.000", "10", "3", "0.064", "3"],
        ["pad", "to", "max", "1", "0.851", "18", "3", "0.915", "1"],
        ["aspect", "groups", "2", "0.532", "15", "3", "0.596", "2"],
        ["equal", "counts", "3", "0.000", "10", "3", "0.064", "3"],
    ]


def test_one_batch_size_and_one_bucket(plan, sizes):
    _, rows, _ = plan(sizes, "--batch_size=8", "--max_buckets=1")
    assert rows[2] == ["20x20", "87", "100.0%", "8", "11", "0.851", "1"]


def test_extents_are_rounded_up(plan, sizes):
    assert [row[0] for row in plan(sizes, "--multiple_of=16")[1][2:5]] == ["16x32", "32x16", "32x32"]


def test_draws_only_when_asked(plan, sizes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan(sizes)
    assert [path.name for path in tmp_path.iterdir()] == ["sizes.csv"]
    code, rows, _ = plan(sizes, "--plot=drawn.png")
    assert (code, rows[-1]) == (0, ["plot", "drawn.png"])
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_a_config_gives_sizes_buckets_and_batch_size(plan, request, monkeypatch):
    train = ArraySource([np.ones((*size, 1)) for size in ((8, 10), (10, 9), (14, 16), (16, 13))], labels=[0, 1, 0, 1])
    monkeypatch.setattr("fcnjax.commands.plan.load_sources", lambda recipe, verify: dict.fromkeys(SPLITS, train))
    config = f"--config={request.config.rootpath / 'configs/digits.py'}"
    code, rows, error = plan(config, "--config.max_buckets=2", "--config.batch_size=4")
    assert (code, error) == (0, "")
    assert [row[0] for row in rows[2:4]] == ["10x10", "16x16"]
    assert {row[3] for row in rows[2:4]} == {"4"}
    assert [row[0] for row in plan(config, "--max_buckets=1", "--pixel_budget=512")[1][2:3]] == ["16x16"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "give either --config=configs/digits.py or --sizes=FILE.csv"),
        (("--config=configs/digits.py", "--sizes=a.csv"), "give either"),
        (("--sizes=absent.csv",), "absent.csv"),
        (("SIZES", "--pixel_budget=399"), "pixel_budget=399: must be 400 or more"),
        (("SIZES", "--pixel_budget=400", "--batch_size=3"), "batch_size=3: must not be given with pixel_budget=400"),
        (("SIZES", "--max_buckets=0"), "max_buckets"),
        (("SIZES", "--bukets=0"), "bukets"),
        (("SIZES", "--plot=plan.xyz"), "plot='plan.xyz': must end in one of"),
    ],
)
def test_a_mistake_gets_one_sentence(plan, sizes, arguments, part):
    code, rows, error = plan(*(sizes if argument == "SIZES" else argument for argument in arguments))
    assert (code, rows) == (2, [])
    assert error.count("\n") == 1
    assert error.startswith("fcnjax plan: ")
    assert part in error
