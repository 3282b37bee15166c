"""Settings of logs and profiles: they do not change what a run computes."""

import dataclasses

from fcnjax.training.settings.config_fields import require_at_least


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """How often a run reports its loss and speed, and where.

    Attributes:
        every_steps: steps between two reports of loss and speed. The end of each epoch is always reported; with 0, only
            the ends of epochs are.
        tensorboard: whether the reports are also written as event files, to the folder `tensorboard` of the run.
    """

    every_steps: int = 0
    tensorboard: bool = False

    def __post_init__(self):
        require_at_least(0, self, "every_steps")

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Returns whether a report follows step number `step`, which counts from 1.

        >>> [step for step in range(1, 11) if LogSettings(every_steps=4).due(step, steps_per_epoch=5)]
        [4, 5, 8, 10]
        """
        return step % steps_per_epoch == 0 or (self.every_steps > 0 and step % self.every_steps == 0)


@dataclasses.dataclass(frozen=True)
class ProfileSettings:
    """Which steps are recorded for a profiler's viewer, in the folder `profile` of the run.

    Attributes:
        start: first recorded step, at least 1; by step 10 most programs are compiled.
        steps: number of recorded steps; 0 records nothing.
    """

    start: int = 10
    steps: int = 0

    def __post_init__(self):
        require_at_least(1, self, "start")
        require_at_least(0, self, "steps")
