"""TensorBoard's event files, written without TensorFlow. The only file that imports tensorboardX.

tensorboardX imports PyTorch if it is installed, which takes seconds: import this module only to write event files.
"""

import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]  (defined at import)
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

VERSION = "brain.Event:2"  # readers look for it in the first record; from 2 on, a session start purges later steps


class EventFile:
    """One event file, written by one process of a run; TensorBoard shows the files of a folder as one run.

    Each method returns after its data have reached the file, and raises any error. tensorboardX's own `SummaryWriter`
    writes in a thread that a full disk ends; once its queue is full, training would wait forever.

    Args:
        folder: made if it does not exist.
        resumed_step: number of steps done before this process started; TensorBoard drops later steps of earlier files.

    Raises:
        OSError: if the file cannot be written.
    """

    def __init__(self, folder: Path, resumed_step: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        # Readers sort files by name, and two files may start in the same second.
        count = sum(1 for _ in folder.glob("events.out.tfevents.*"))
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{count:06d}"
        self._writer = RecordWriter(str(folder / name))
        self._append(Event(file_version=VERSION))
        self._append(Event(step=resumed_step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the values of a step by tag, such as "train/loss"; raises OSError if that fails."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._append(Event(step=step, summary=summary))

    def close(self) -> None:
        """Closes the file; raises OSError if data left by an earlier failure still cannot be written."""
        self._writer.close()

    def _append(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
        self._writer.flush()
