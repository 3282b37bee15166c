"""The stages of `python -m fcnjax.bench.gpu`: their commands, and the key figures read from what they wrote."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcnjax.atomic import read_json, write_json
from fcnjax.bench.outcomes import summarized
from fcnjax.bench.stages import Stage
from fcnjax.training.compile.compilation import core_count

CONSUMED = 6000  # images/s of training a ResNet-50 on the card, which the loader has to keep up with
DIGITS, PHOTOGRAPHS = "configs/digits.py", "configs/image_folder.py"
FCNJAX = (sys.executable, "-m", "fcnjax", "bench")
SMALL_TESTS = ("tests/test_geometry.py", "tests/test_padded.py")
STARTING = 12.0  # seconds of a stage in which its process starts and ends
SUMMARIZED = ("start", "resnet18")
ON_REQUEST = ("resnet18",)  # stages that run only if they are named
SHOWN = 5  # failed tests named in the summary; the file of the stage names all


class Stages:
    """Makes the stages, the most important first.

    Args:
        results: function from the name of a stage to the path of its JSON file.
        scratch: folder for what nobody keeps.
        root: the checkout.
        small: whether to do little of everything.
    """

    def __init__(self, results: Callable[[str], Path], scratch: Path, root: Path, *, small: bool):
        self._results, self._scratch, self._root, self._small = results, scratch, root, small

    def all(self) -> list[Stage]:
        """Returns the stages in order, with their shares in seconds of the default limit."""
        return [
            Stage("exactness", 75, self._exactness, self._read("exactness", exactness_figures)),
            Stage("bench", 165, self._bench, self._read("bench", bench_figures)),
            Stage("determinism", 55, self._determinism(), self._read("determinism", determinism_figures), True),
            Stage("tests", 90, self._tests, self._test_figures, True),
            Stage("ablation", 55, self._ablation, lambda: ablation_figures(self._scratch / "ablation")),
            Stage("start", 55, self._start, self._read("start", bench_figures)),
            Stage("input", 30, self._input, self._read("input", input_figures)),
            Stage("resnet18", 70, self._determinism("resnet18"), self._read("resnet18", determinism_figures), True),
        ]

    def _path(self, name: str) -> Path:
        """Returns the path of the JSON file of a stage; of the small ones, only the summary keeps the figures."""
        return self._scratch / f"{name}.json" if name in SUMMARIZED else self._results(name)

    def _read(self, name: str, figures: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        return lambda: figures(read_json(self._root / self._path(name)))

    def _exactness(self, seconds: float) -> list[str]:
        networks = ["--networks=fcn"] if self._small else []
        return [*FCNJAX, "exactness", *networks, *self._limited("exactness", seconds)]

    def _bench(self, seconds: float) -> list[str]:
        if self._small:
            few = ["--arms=planned,dense", "--rounds=1", "--shapes=2", "--nowarm_start"]
            return [*FCNJAX, "train", *few, *self._limited("bench", seconds)]
        return [
            *FCNJAX,
            "train",
            "--network=resnet50",
            "--dtype=bfloat16",
            "--shapes=4",
            "--nowarm_start",
            *self._limited("bench", seconds),
        ]

    def _determinism(self, network: str = "") -> Callable[[float], list[str]]:
        name = network or "determinism"
        config = [f"--config={DIGITS}:{network}".removesuffix(":"), f"--config.epochs={1 if network else 2}"]
        return lambda seconds: [*FCNJAX, "determinism", *config, *self._limited(name, seconds)]

    def _tests(self, seconds: float) -> list[str]:
        # As many processes as cores share the card. Their outcomes are written one by one, as time may run out.
        options = ["-n", str(core_count()), "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "fcnjax.bench.outcomes"]
        options += ["--ignore=tests/bench/test_gpu.py"]  # its own stages would outlive this one if it is killed
        chosen = SMALL_TESTS if self._small else ()
        return [sys.executable, "-m", "pytest", *options, f"--outcomes={self._scratch / 'outcomes'}", *chosen]

    def _ablation(self, seconds: float) -> list[str]:
        folder = self._scratch / "ablation"
        few = ["--config.epochs=1", "--config.model.channels=(4,4)", "--config.max_buckets=1", "--shard=1/12"]
        command = [sys.executable, "-m", "experiments.head_ordering", f"--config={DIGITS}", "--seeds=1"]
        return [*command, f"--workdir={folder}", *(few if self._small else [])]

    def _input(self, seconds: float) -> list[str]:
        config = [f"--config={PHOTOGRAPHS}", f"--config.loader.threads={core_count()}"]
        drawn = ["--drawn=60", "--steps=4"] if self._small else ["--drawn=2000", "--config.batch_size=128"]
        consumer = f"--images_per_s={CONSUMED}"
        return [*FCNJAX, "input", *config, *drawn, consumer, f"--json={self._path('input')}"]

    def _start(self, seconds: float) -> list[str]:
        options = ["--arms=planned", "--rounds=1", "--shapes=2", "--warm_start"]
        return [*FCNJAX, "train", *options, *self._limited("start", seconds)]

    def _limited(self, name: str, seconds: float) -> list[str]:
        # A process needs a few of its seconds to start, and to finish what it has begun.
        return [f"--seconds={max(1.0, seconds - STARTING):.0f}", f"--json={self._path(name)}"]

    def _test_figures(self) -> dict[str, Any]:
        result = summarized(self._scratch / "outcomes")
        write_json(self._root / self._results("tests"), result)
        return result["counts"] | ({"failed": list(result["failed"])[:SHOWN]} if result["failed"] else {})


def exactness_figures(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the worst differences of each precision over all networks."""
    figures: dict[str, Any] = {"networks": len(result["networks"])}
    for cell in (cell for network in result["networks"].values() for cell in network.values()):
        for name, worst in cell.get("worst", {}).items():
            key = f"{cell['mode']} {name}"
            figures[key] = max(figures.get(key, 0.0), worst)
    return figures


def bench_figures(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the quantities, and the rate of each arm in images per second."""
    names = [*result.get("targets", {}), "warm_start_s", "cold_start_s", "matrix_peak_tflops"]
    figures = {name: result[name] for name in names if isinstance(result.get(name), int | float)}
    rates = result.get("images_per_s", {}).items()
    return figures | {f"{name} images/s": round(rate) for name, rate in rates if isinstance(rate, int | float)}


def determinism_figures(result: dict[str, Any]) -> dict[str, Any]:
    """Returns for each training whether it ended in the same bits as the first one."""
    runs = {name: one for name, one in result.items() if isinstance(one, dict) and {"weights_equal", "note"} & set(one)}
    return {
        name: one.get("note") or ("equal" if one["weights_equal"] and one["metrics_equal"] else "differs")
        for name, one in runs.items()
    }


def input_figures(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the plain numbers of the result."""
    return {name: value for name, value in result.items() if isinstance(value, int | float)}


def ablation_figures(folder: Path) -> dict[str, Any]:
    """Returns how many runs of an experiment have ended, and the mean seconds of one, evaluations included."""
    ended = sorted(path.stat().st_mtime for path in folder.glob("measured/*.npz"))
    if not ended:
        return {"runs": 0}
    begun = min(path.stat().st_mtime for path in folder.glob("runs/*/config.json"))
    return {"runs": len(ended), "seconds_a_run": round((ended[-1] - begun) / len(ended), 2)}
