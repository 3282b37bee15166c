"""Devices and hosts share the work and change no number: losses, weights and statistics, and no count at all."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = pathlib.Path(__file__).with_name("run_on_devices.py")
TOLERANCE = 1e-5  # relative to the largest value of an array
SECONDS = 300


def start(out: pathlib.Path, *arguments: str) -> subprocess.Popen:
    paths = [str(PROGRAM.parent), str(PROGRAM.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(PROGRAM), f"--out={out}", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(*processes: subprocess.Popen) -> list[str]:
    """Waits for all, and returns what they said; none may have failed."""
    try:
        said = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(said)
    return said


def run_hosts(out: pathlib.Path, hosts: int, *arguments: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = (f"--coordinator={address}", f"--hosts={hosts}", *arguments)
    finish(*(start(out, *common, f"--host={host}") for host in range(hosts)))


def load(out: pathlib.Path, devices: int = 1) -> dict[str, np.ndarray]:
    with np.load(out / f"{devices}_devices" / "out.npz") as file:
        return dict(file)


def assert_same_run(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert got.keys() == wanted.keys()
    assert len(wanted["losses"]) >= 20
    for name in wanted.keys() - {"shard"}:
        if np.issubdtype(wanted[name].dtype, np.integer):
            np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)
        else:
            difference = np.abs(got[name] - wanted[name]).max() / np.abs(wanted[name]).max()
            assert difference <= TOLERANCE, f"{name}: {difference:.1e}"


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, np.ndarray]:
    out = tmp_path_factory.mktemp("alone")
    finish(start(out, "--devices=1"))
    return load(out)


@pytest.mark.slow
def test_the_number_of_devices_changes_nothing(alone, tmp_path):
    finish(start(tmp_path, "--devices", "1", "2", "4", "8"))
    for devices in (1, 2, 4, 8):
        assert_same_run(load(tmp_path, devices), alone)


@pytest.mark.slow
def test_sharded_weights_are_the_same_and_each_device_has_its_part(alone, tmp_path):
    finish(start(tmp_path, "--devices", "1", "4", "--changes={'shard_weights': True}"))
    for devices in (1, 4):
        got = load(tmp_path, devices)
        assert_same_run(got, alone)
        assert got["shard"] == got["largest"] // devices


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [2, 4])
def test_the_number_of_hosts_changes_nothing(alone, tmp_path, hosts):
    run_hosts(tmp_path, hosts)
    assert_same_run(load(tmp_path), alone)


@pytest.mark.slow
def test_micro_batches_on_hosts(tmp_path):
    changes = "--changes={'batching': 'mixed'}"
    finish(start(tmp_path / "alone", changes))
    run_hosts(tmp_path / "hosts", 2, changes)
    assert_same_run(load(tmp_path / "hosts"), load(tmp_path / "alone"))


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_hosts(alone, tmp_path):
    changes = "--changes={'checkpoint_steps': 10}"
    run_hosts(tmp_path, 2, changes, "--interrupt_after=10")
    assert not (tmp_path / "1_devices" / "result.json").exists()
    finish(start(tmp_path, changes))
    assert_same_run(load(tmp_path), alone)
