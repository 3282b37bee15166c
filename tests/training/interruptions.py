"""Runs that end early, for tests of what is resumed."""

import itertools

import pytest

from fcnjax.training import Trainer


class Interruption(BaseException):
    """Ends a run as a kill would: like KeyboardInterrupt, it is not caught by `except Exception`."""


def interrupt_after(patch: pytest.MonkeyPatch, trainer: Trainer, steps: int, error: type[BaseException] = Interruption):
    """Makes the trainer raise an error after so many steps from the start of its next run."""
    fit = trainer.fit

    def short(state, seed):
        yield from itertools.islice(fit(state, seed), steps)
        raise error

    patch.setattr(trainer, "fit", short)
