"""Ctrl-C at any moment of a command: exit code 130 and one sentence, never a traceback, and never lost.

The commands are processes of their own, and the signals are real.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from fcnjax import xla
from fcnjax.commands.command_line import INTERRUPTED
from fcnjax.data import load_source

SAMPLE, MANY = 6, 100  # moments in `make test` and in `make test-long`
LONGEST = 4.0  # seconds from the start to the latest signal: imports, data, compilation, the first steps
# A shell's background jobs ignore the signal, and so would Python.
TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
# Says when `entry` has reached its second line; the process was started with the signal as a terminal leaves it.
ENTER = """
import sys
from fcnjax.commands import main

command = main.main
main.main = lambda: print("entered", flush=True) or command()
sys.argv[0] = "fcnjax"
main.entry()
"""
# A run in which Python drops the first KeyboardInterrupt, as it does in a callback of the garbage collector.
DEAF = """
import gc, sys, time
from fcnjax.commands import main, train

def collected(phase, info):
    gc.callbacks.remove(collected)
    print("deaf", flush=True)
    time.sleep(60)

def deaf(argv):
    gc.callbacks.append(collected)
    gc.collect()
    print("goes on", flush=True)
    time.sleep(60)

train.run = deaf
sys.argv = ["fcnjax", "train"]
main.entry()
"""
# A run that needs a while to clean up.
SLOW = """
import sys, time
from fcnjax.commands import interrupt, main, train

def slow(argv):
    try:
        print("runs", flush=True)
        time.sleep(60)
    finally:
        time.sleep(4 * interrupt.LOST_AFTER)
        print("cleaned up", flush=True)

train.run = slow
sys.argv = ["fcnjax", "train"]
main.entry()
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory, request):
    """Returns a function that starts Python with a script, and waits until the process has printed its first line."""
    folder = tmp_path_factory.mktemp("interrupted")
    load_source("any_size_digits", "train", str(folder / "data"))  # prepared once, before anything is interrupted
    environ = {name: value for name, value in os.environ.items() if name != xla.FLAGS}
    environ |= {"TFDS_DATA_DIR": str(folder / "data"), "FCNJAX_CACHE_DIR": str(folder / "programs")}

    def started(script, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", TERMINAL + script, *arguments],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return process, process.stdout.readline()

    started.folder = folder
    started.config = request.config.rootpath / "configs/digits.py"
    return started


def check(start, moments):
    for number, moment in enumerate(moments):
        options = ["--config.epochs=100", "--config.model.channels=(4,4)", "--config.checkpoint_every=1"]
        workdir = f"--workdir={start.folder / f'run_{moment}'}"
        process, said = start(ENTER, "train", f"--config={start.config}", workdir, *options)
        assert said == "entered\n"
        time.sleep(moment)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        case = f"signal {number}, {moment} s after the start: {error}"
        assert process.returncode == INTERRUPTED, case
        assert "Traceback" not in error, case
        assert "interrupted" in error.splitlines()[-1], case
        assert error.splitlines()[-1].startswith("fcnjax"), case


def test_a_signal_in_the_first_seconds_ends_a_command(start):
    rng = random.Random(0)
    check(start, [0.0, *(round(rng.uniform(0, LONGEST), 3) for _ in range(SAMPLE - 1))])


@pytest.mark.long
def test_a_signal_at_any_of_many_moments_ends_a_command(start):
    rng = random.Random(1)
    check(start, [round(rng.uniform(0, LONGEST), 3) for _ in range(MANY)])


def test_a_signal_that_python_drops_is_repeated(start):
    process, said = start(DEAF)
    assert said == "deaf\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (INTERRUPTED, "goes on\n")
    assert error == "\nfcnjax train: interrupted.\n"


def test_cleaning_up_is_not_interrupted_by_the_repetition(start):
    process, _ = start(SLOW)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (INTERRUPTED, "cleaned up\n")
    assert error.count("\n") == 2


def test_a_second_signal_interrupts_the_cleaning_up(start):
    process, _ = start(SLOW)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (INTERRUPTED, "")


def test_help_starts_fast_and_imports_no_array_library(tmp_path):
    script = "import sys; sys.argv = ['fcnjax', '--help']\nfrom fcnjax.commands.main import entry\nentry()\n"
    script += "print([name for name in ('jax', 'numpy', 'flax', 'ml_collections', 'absl') if name in sys.modules])"
    seconds = []
    for _ in range(5):
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        seconds.append(time.monotonic() - begun)
        assert done.stdout.startswith("usage: fcnjax COMMAND [--flags]\n")
        assert done.stdout.endswith("[]\n")
    assert min(seconds) < 0.5
