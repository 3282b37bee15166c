"""What fits a budget of time, with a clock that the test moves."""

import pytest

from fcnjax.bench.budget import MIN_ROUNDS, Budget


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_budget_counts_from_its_beginning():
    clock = Clock()
    budget = Budget(30, clock)
    clock.now += 12
    assert (budget.spent, budget.left) == (12, 18)


def test_what_is_added_must_leave_time_for_the_rounds_and_the_reserve():
    budget = Budget(100, Clock())
    turns = [2.0, 4.0]
    assert budget.why_not(100 - 6 * MIN_ROUNDS - 10, turns, reserve=10) == ""
    reason = budget.why_not(100 - 6 * MIN_ROUNDS - 9, turns, reserve=10)
    assert reason == "left out: it needs about 61 s, and 60 s remain for it; give --seconds=110."


def test_rounds_are_as_many_as_fit():
    clock = Clock()
    budget = Budget(100, clock)
    clock.now += 30
    assert budget.rounds(10, [4.0, 6.0]) == 7
    assert budget.rounds(10, [4.0, 6.0], reserve=15) == 5
    assert budget.rounds(3, [4.0, 6.0]) == 3
    clock.now += 200
    assert budget.rounds(10, [4.0]) == 1  # a result needs one


def test_a_budget_of_no_time_is_refused():
    with pytest.raises(ValueError, match=r"seconds=0: must be greater than 0\."):
        Budget(0)
