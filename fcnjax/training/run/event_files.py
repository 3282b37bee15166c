"""TensorBoard's event files, written without TensorFlow. The only file that imports tensorboardX.

tensorboardX imports PyTorch where that is installed, which takes seconds: import this where event files are wanted.
"""

import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]  (made when it is imported)
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

VERSION = "brain.Event:2"  # what a reader looks for in the first record; of this one on, a start purges later steps


class EventFile:
    """One event file, of one process that works on a run; TensorBoard shows those of a folder as one run.

    What is written has reached the disk when a method returns, and what fails is raised. tensorboardX's own
    `SummaryWriter` writes in a thread, which a full disk ends; once its queue is full, training would wait for ever.

    Args:
        folder: made if it does not exist.
        resumed_step: steps done before this process began; TensorBoard forgets what earlier files hold of later steps.

    Raises:
        OSError: if the file cannot be written.
    """

    def __init__(self, folder: Path, resumed_step: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        # Files are read in the order of their names, and two may begin in the same second.
        count = sum(1 for _ in folder.glob("events.out.tfevents.*"))
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{count:06d}"
        self._writer = RecordWriter(str(folder / name))
        self._append(Event(file_version=VERSION))
        self._append(Event(step=resumed_step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the values of a step by their tags, such as "train/loss"; raises OSError if that fails."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._append(Event(step=step, summary=summary))

    def close(self) -> None:
        """Closes the file; raises OSError if what a failure left over cannot be written now either."""
        self._writer.close()

    def _append(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
        self._writer.flush()
