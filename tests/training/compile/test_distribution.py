"""Devices and hosts share the work and change no number: losses, weights and statistics, and no count at all."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from fcnjax.training.compile.mesh import join_hosts

PROGRAM = pathlib.Path(__file__).with_name("run_on_devices.py")
TOLERANCE = 1e-5  # relative to the largest value of an array
SECONDS = 300


def start(out: pathlib.Path, *arguments: str) -> subprocess.Popen:
    return start_python(str(PROGRAM), f"--out={out}", *arguments)


def start_python(*arguments: str) -> subprocess.Popen:
    paths = [str(PROGRAM.parents[1]), str(PROGRAM.parents[3]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *arguments], env=environment, **pipes)


def wait_for(*processes: subprocess.Popen) -> list[str]:
    """Waits for all processes, and returns their outputs."""
    try:
        return [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def finish(*processes: subprocess.Popen) -> None:
    said = wait_for(*processes)
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(said)


def flags_of(hosts: int) -> list[list[str]]:
    """Returns the arguments with which hosts on this machine find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [[f"--coordinator={address}", f"--hosts={hosts}", f"--host={host}"] for host in range(hosts)]


def start_hosts(out: pathlib.Path, hosts: int, *arguments: str) -> list[subprocess.Popen]:
    return [start(out, *flags, *arguments) for flags in flags_of(hosts)]


def load(out: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    with np.load(out / name / "out.npz") as file:
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
def alone(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """The results of one device, with batches of one bucket and with micro-batches of several buckets."""
    out = tmp_path_factory.mktemp("alone")
    finish(start(out, "--variants", "bucket", "mixed"))
    return {name: load(out, f"{name}_1") for name in ("bucket", "mixed")}


@pytest.mark.slow
def test_the_number_of_devices_changes_nothing(alone, tmp_path):
    finish(start(tmp_path, "--devices", "2", "4", "8"))
    for devices in (2, 4, 8):
        assert_same_run(load(tmp_path, f"bucket_{devices}"), alone["bucket"])


@pytest.mark.slow
def test_sharded_weights_are_the_same_and_each_device_has_its_part(alone, tmp_path):
    finish(start(tmp_path, "--devices", "4", "--variants", "sharded"))
    sharded = load(tmp_path, "sharded_4")
    assert_same_run(sharded, alone["bucket"])
    assert sharded["shard"] == sharded["largest"] // 4
    assert alone["bucket"]["shard"] == sharded["largest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hosts", "variants"), [(2, ("bucket", "mixed")), pytest.param(4, ("bucket",), marks=pytest.mark.long)]
)
def test_the_number_of_hosts_changes_nothing(alone, tmp_path, hosts, variants):
    finish(*start_hosts(tmp_path, hosts, "--variants", *variants))
    for name in variants:
        assert_same_run(load(tmp_path, f"{name}_1"), alone[name])


@pytest.mark.slow
def test_a_host_that_dies_ends_the_run_which_goes_on_with_another_number_of_hosts(alone, tmp_path):
    variant = ("--variants", "checkpoints")
    survivor, dead = start_hosts(tmp_path, 2, *variant, "--die_after=10")
    said, _ = wait_for(survivor, dead)
    assert dead.returncode == -signal.SIGKILL
    assert survivor.returncode not in (0, -signal.SIGKILL)  # it ended by itself, with a reason
    assert any(word in said for word in ("JAX distributed service detected fatal errors", "Gloo", "JaxRuntimeError"))
    assert not (tmp_path / "checkpoints_1" / "result.json").exists()
    finish(start(tmp_path, *variant))
    assert_same_run(load(tmp_path, "checkpoints_1"), alone["bucket"])


@pytest.mark.slow
def test_a_host_that_cannot_begin_ends_the_others_which_say_why(tmp_path, request):
    command = ["-m", "fcnjax", "train", f"--config={request.config.rootpath / 'configs/digits.py'}"]
    command += [f"--workdir={tmp_path / 'run'}", f"--config.data.data_dir={tmp_path / 'data'}"]
    well, ill = flags_of(2)
    hosts = [start_python(*command, *well), start_python(*command, *ill, "--config.data.name=nothing")]
    said = wait_for(*hosts)
    assert [host.returncode for host in hosts] == [4, 2], said
    assert "fcnjax train: reading the data failed on host 1: " in said[0]
    assert "nothing" in said[0].splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("hosts", "host"), [(None, 0), (2, None), (2, 2), (2, -1), (0, 0)])
def test_hosts_that_do_not_fit_their_address_are_refused_before_jax_starts(monkeypatch, hosts, host):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(ValueError, match=r"--coordinator=10\.0\.0\.1:8476: needs --hosts and --host"):
        join_hosts("10.0.0.1:8476", hosts, host)


def test_jax_is_told_the_hosts_and_on_a_known_cluster_finds_them_itself(monkeypatch):
    started = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given, **options: started.append((given, options)))
    join_hosts("10.0.0.1:8476", 2, 1)
    join_hosts("auto", heartbeat_seconds=10)
    assert [given for given, _ in started] == [("10.0.0.1:8476", 2, 1), (None, None, None)]
    assert [options["heartbeat_timeout_seconds"] for _, options in started] == [60, 10]
