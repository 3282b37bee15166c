"""The time that a benchmark may take: what still fits, and how many rounds do."""

import time
from collections.abc import Callable, Iterable

MIN_ROUNDS = 5  # of all arms; an arm that leaves less time than that is left out


class Budget:
    """A number of seconds from now on.

    Args:
        seconds: greater than 0.
        clock: returns seconds since a fixed moment.

    Raises:
        ValueError: if `seconds` is not greater than 0.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter):
        if not seconds > 0:
            raise ValueError(f"seconds={seconds}: must be greater than 0.")
        self.seconds, self._clock, self._begun = seconds, clock, clock()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begun

    @property
    def left(self) -> float:
        """Seconds that remain; below 0 if the budget is exceeded."""
        return self.seconds - self.spent

    def why_not(self, needed: float, turns: Iterable[float], reserve: float = 0) -> str:
        """Returns why something does not fit beside `MIN_ROUNDS` rounds, as a sentence; empty if it fits.

        Args:
            needed: seconds that it takes.
            turns: seconds of each turn of a round.
            reserve: seconds that are kept for what follows the rounds.
        """
        available = self.left - MIN_ROUNDS * sum(turns) - reserve
        if needed <= available:
            return ""
        more = 10 * -(-(needed - available + self.seconds) // 10)
        remain = f"{max(0, available):.0f} s remain for it"
        return f"left out: it needs about {needed:.0f} s, and {remain}; give --seconds={more:.0f}."

    def rounds(self, wanted: int, turns: Iterable[float], reserve: float = 0) -> int:
        """Returns the number of rounds that fit, at least 1 and at most `wanted` (arguments as for `why_not`)."""
        return max(1, min(wanted, int((self.left - reserve) / max(sum(turns), 1e-9))))
