"""Reads the event files of a run as TensorBoard does."""

import struct
from pathlib import Path


def read_events(folder: Path):
    """Yields the events of all files, sorted by name; a record is a length, two checksums and a protocol buffer."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted((folder / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def shown_scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Returns the events of a tag that TensorBoard shows; a session start drops earlier events from its step on."""
    shown: list[tuple[int, float]] = []
    for event in read_events(folder):
        if event.HasField("session_log") and event.session_log.status == event.session_log.START:
            shown = [(step, value) for step, value in shown if step < event.step]
        shown += [(event.step, value.simple_value) for value in event.summary.value if value.tag == tag]
    return shown
