"""Settings of what is observed of a run while it trains: they change nothing in what it computes."""

import dataclasses

from fcnjax.training.settings.config_fields import require


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """How often a run says where it stands, and where to.

    Attributes:
        every_steps: steps between two reports of loss and speed, besides the one at the end of each epoch; 0: only
            those.
        tensorboard: whether the reports also go to event files in the folder `tensorboard` of the run.
    """

    every_steps: int = 0
    tensorboard: bool = False

    def __post_init__(self):
        require(self.every_steps >= 0, "log.every_steps", self.every_steps, "at least 0")

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Returns whether a report follows step number `step`, counted from 1.

        >>> [step for step in range(1, 11) if LogSettings(every_steps=4).due(step, steps_per_epoch=5)]
        [4, 5, 8, 10]
        """
        return step % steps_per_epoch == 0 or (self.every_steps > 0 and step % self.every_steps == 0)


@dataclasses.dataclass(frozen=True)
class ProfileSettings:
    """Which steps are recorded for a profiler's viewer, into the folder `profile` of the run.

    Attributes:
        start: the first one, counted from 1; those before it have met most of the compilations.
        steps: how many; 0 records nothing.
    """

    start: int = 10
    steps: int = 0

    def __post_init__(self):
        require(self.start >= 1, "profile.start", self.start, "at least 1")
        require(self.steps >= 0, "profile.steps", self.steps, "at least 0")
