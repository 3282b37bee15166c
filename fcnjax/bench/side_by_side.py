"""Arms that are prepared in order of importance and then take turns, within a budget of time."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import jax

from fcnjax.bench.arms import GROUPS, TORCH_COMPILE, TORCH_DENSE, ArmMaker, ReadyArm, describe_error
from fcnjax.bench.budget import Budget
from fcnjax.bench.timing import one_round
from fcnjax.bench.workload import Workload
from fcnjax.progress import progress_bar, write_line
from fcnjax.training.compile.compilation import core_count

# Seconds to prepare an arm of PyTorch, before anything is known about this machine.
TORCH_S = {TORCH_DENSE: 10.0, TORCH_COMPILE: 45.0}
OTHER_TORCH_S = 10.0
# Share of the time left that a group may compile for, as one that hangs must not cost the others; and seconds that the
# first one has in any case, because a result needs an arm.
COMPILING, LEAST_COMPILING_S = 0.6, 60.0


class SideBySide:
    """The arms that fit a budget, and their times.

    Args:
        work: what is trained.
        names: the arms that are wanted.
        budget: the time that everything may take.
        reserve: seconds that are kept for what follows.
        changed: called whenever there is a new measurement.

    Attributes:
        maker: has the compiled programs and PyTorch.
        ready: the arms that run.
        notes: for each arm that does not run, the reason; what an arm reports.
        rounds: number of complete rounds.
    """

    def __init__(
        self,
        work: Workload,
        names: Sequence[str],
        budget: Budget,
        reserve: float = 0.0,
        changed: Callable[[], None] = lambda: None,
    ):
        self.work, self.maker, self.ready = work, ArmMaker(work), dict[str, ReadyArm]()
        self.notes, self.rounds = dict[str, str](), 0
        self._names, self._budget, self._reserve, self._changed = names, budget, reserve, changed
        self._first, self._times = dict[str, float](), dict[str, list[float]]()

    @property
    def milliseconds(self) -> dict[str, list[float]]:
        """Milliseconds of a turn of each arm, in each round; before the first round, of its first turn alone."""
        return {name: self._times.get(name) or [self._first[name]] for name in self.ready}

    def prepare(self) -> None:
        """Prepares the arms, group by group, and times a turn of each."""
        groups = [[name for name in group if name in self._names] for group in GROUPS]
        with progress_bar(total=len(self._names), title="preparing", unit=" arms", leave=False) as bar:
            for group in filter(None, groups):
                bar.set_postfix_str(", ".join(group))
                self._add(self._that_fit(group))
                for name in group:
                    if name in self.notes:
                        _tell(f"{name}: {self.notes[name]}")
                bar.update(len(group))

    def measure(self, wanted: int) -> None:
        """Lets the arms take turns, for as many of the wanted rounds as fit."""
        count = self._budget.rounds(wanted, self._turns, self._reserve)
        for turn in progress_bar(range(count), "measuring", unit=" rounds", leave=False):
            programs = {name: partial(self._run, name) for name in self.ready}
            times = one_round(programs, 1, turn)
            for name in self.ready:  # an arm that failed has left
                self._times.setdefault(name, []).append(times[name])
            self.rounds = turn + 1
            self._changed()
            if self._budget.left < self._reserve + sum(times.values()) / 1e3:  # turns became slower
                break
        if self.rounds < wanted:
            self.notes["rounds"] = f"{self.rounds} instead of {wanted} fit the time; give more --seconds."

    def _run(self, name: str, times: int) -> None:
        try:
            self.ready[name].turn(times)
        except Exception as error:  # one arm must not cost the others
            self.notes[name] = f"left out in round {self.rounds + 1}: {describe_error(error)}"
            del self.ready[name]

    @property
    def _turns(self) -> Iterator[float]:
        return (milliseconds[-1] / 1e3 for milliseconds in self.milliseconds.values())

    def _that_fit(self, group: Sequence[str]) -> list[str]:
        """Returns the arms of a group that fit the time together; `notes` gets the reason for the others."""
        chosen = []
        for name in group:
            reason = self._budget.why_not(self._expected([*chosen, name]), self._turns, self._reserve)
            if reason and self.ready:
                self.notes[name] = reason
            else:
                chosen.append(name)
        return chosen

    def _expected(self, group: Sequence[str]) -> float:
        """Returns the seconds that preparing a group is expected to take."""
        slowest = max(self.maker.compiled.alone.values(), default=0.0)
        programs = sum(self.maker.programs(name) for name in group)
        in_torch = [TORCH_S.get(name, OTHER_TORCH_S) for name in group if not self.maker.programs(name)]
        return slowest * -(-programs // core_count()) + sum(in_torch)

    def _add(self, group: Sequence[str]) -> None:
        least = 1.0 if self.ready else LEAST_COMPILING_S
        limit = max(least, COMPILING * (self._budget.left - self._reserve))
        for name, arm in self.maker.prepare(group, self.notes, limit).items():
            begun = time.perf_counter()
            try:
                arm.turn()
            except Exception as error:  # one arm must not cost the others
                self.notes[name] = describe_error(error)
                continue
            seconds = time.perf_counter() - begun
            if self.ready and self._budget.why_not(0, [*self._turns, seconds], self._reserve):
                turn = f"one turn took {seconds:.1f} s, {arm.stretch.examples / seconds:,.1f} images/s"
                self.notes[name] = (
                    f"left out of the rounds, which would not fit the time ({turn}); give more --seconds."
                )
            else:
                self.ready[name], self._first[name] = arm, 1e3 * seconds
                _tell(f"{name}: {arm.stretch.examples / seconds:,.1f} images/s in its first turn")
                self._changed()


def _tell(line: str) -> None:
    """Prints a line to stderr, above the progress bars."""
    write_line(line)


@contextmanager
def compilation_cache_off() -> Iterator[None]:
    """Turns JAX's persistent cache off, for measurements of the time of compilation."""
    name = "jax_enable_compilation_cache"
    before = getattr(jax.config, name)
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)
