"""Devices and hosts: one mesh axis divides the rows of a batch, and each array has its sharding on it.

Every array of a step is global, under one sharded `jit`. Sums over the batch are therefore sums over all devices, also
in batch norm, and the examples of a step never depend on the number of devices. Axes: B rows of a batch.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from fcnjax.naming import first_line

AXIS = "data"
SMALLEST_SHARDED = 2**12  # elements; gathering a smaller array costs more than it saves
HEARTBEAT_SECONDS = 60
START_SECONDS = 300  # how long the hosts wait for each other at the start


class HostFailure(RuntimeError):
    """Another host of this run failed; its message names the host and the reason."""


def join_hosts(
    coordinator: str, hosts: int | None = None, host: int | None = None, *, heartbeat_seconds: int = HEARTBEAT_SECONDS
):
    """Makes this process one of the hosts of a run. Call it before JAX does anything else.

    Args:
        coordinator: "auto" on a cluster that JAX knows (SLURM, GKE, Open MPI, Cloud TPU); else the address of host 0,
            such as "10.0.0.1:8476".
        hosts: number of hosts; None with "auto".
        host: number of this host, 0 to `hosts - 1`; None with "auto".
        heartbeat_seconds: seconds of silence after which the other hosts consider a host dead, and end.

    Raises:
        ValueError: if an argument is missing or does not fit the others, or "auto" does not find a cluster.
        HostFailure: if the other hosts do not connect in time.
    """
    address = None if coordinator == "auto" else coordinator
    if address is not None and (hosts is None or host is None or not 0 <= host < hosts):
        raise ValueError(
            f"--coordinator={coordinator}: needs --hosts and --host, the number of this host from 0, not {hosts} and "
            f"{host}; on a cluster that JAX knows, give only --coordinator=auto."
        )
    try:
        jax.distributed.initialize(
            address,
            hosts,
            host,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=heartbeat_seconds,
            shutdown_timeout_seconds=heartbeat_seconds,
        )
    except ValueError as error:
        raise ValueError(f"--coordinator={coordinator}: {first_line(error)} Give the address of host 0.") from error
    except RuntimeError as error:
        raise HostFailure(f"--coordinator={coordinator}: the hosts did not connect ({first_line(error)}).") from error


def describe_host_failure(error: Exception) -> str:
    """Returns the message for an error that the end of another host most likely caused."""
    if isinstance(error, HostFailure):
        return str(error)
    return (
        f"another host of this run has ended or cannot be reached ({first_line(error)}); run the same command on "
        "all hosts (their number may change) to resume from the last checkpoint."
    )


def is_first_host() -> bool:
    """Returns whether this process runs on the first host, which writes the files."""
    return jax.process_index() == 0


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Returns the mesh of the given devices along one axis; None: all devices of all hosts."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds in full."""
    return NamedSharding(mesh, P())


def by_rows(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays with the batch as their first axis."""
    return NamedSharding(mesh, P(AXIS))


def state_shardings(mesh: Mesh, state: Any, *, shard: bool) -> Any:
    """Returns the shardings of a state, as a pytree with its structure.

    Args:
        mesh: from `make_mesh`.
        state: arrays, or their shapes.
        shard: whether large arrays are divided along the longest axis that the devices divide evenly (fully sharded
            data parallel: weights, averages and optimizer states take less memory on each device, and are gathered when
            a step needs them); otherwise every device holds all.
    """
    return jax.tree.map(lambda array: NamedSharding(mesh, _spec(array.shape, mesh.size) if shard else P()), state)


def _spec(shape: tuple[int, ...], devices: int) -> P:
    axes = [axis for axis, extent in enumerate(shape) if extent % devices == 0]
    if devices == 1 or math.prod(shape) < SMALLEST_SHARDED or not axes:
        return P()
    longest = max(axes, key=lambda axis: shape[axis])
    return P(*(AXIS if axis == longest else None for axis in range(longest + 1)))


def place_rows(mesh: Mesh, rows: np.ndarray | jax.Array) -> jax.Array:
    """Returns the global array [B, ...] made of each host's rows [B / hosts, ...], without waiting for the copy.

    An array that is already on the devices is returned unchanged.
    """
    if isinstance(rows, jax.Array):
        return rows
    if mesh.size == 1:
        return jax.device_put(rows, mesh.devices.flat[0])
    return jax.make_array_from_process_local_data(by_rows(mesh), rows)


def sum_over_hosts(number: int) -> int:
    """Returns the sum of one integer per host; all hosts must call it."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int64(number)).sum())


def gather_texts(text: str) -> list[str]:
    """Returns the texts of all hosts, in order; all hosts must call it."""
    if jax.process_count() == 1:
        return [text]
    content = text.encode()
    lengths = multihost_utils.process_allgather(np.int32(len(content)))
    padded = np.zeros(max(int(lengths.max()), 1), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:length]).decode() for row, length in zip(rows, lengths, strict=True)]


def whole_array(array: Any) -> np.ndarray:
    """Returns an array of which each device may hold a part."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


@contextmanager
def together(what: str) -> Iterator[None]:
    """Ends the run on all hosts if the block fails on one host, because the others would wait for it forever.

    Args:
        what: what the block does, for the message.

    Raises:
        HostFailure: if the block succeeded here and failed on another host.
    """
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    messages = gather_texts("" if failure is None else f"{failure} ({type(failure).__name__})")
    if failure is not None:
        raise failure
    for host, text in enumerate(messages):
        if text:
            raise HostFailure(f"{what} failed on host {host}: {text}.")
