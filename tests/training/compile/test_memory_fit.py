"""Batch sizes from the memory of compiled programs: the answer fits, the next one does not, and few are compiled."""

import math

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_data import make_recipe, make_sources

from fcnjax.training import (
    Trainer,
    device_memory_bytes,
    largest_batch_size,
)
from fcnjax.training.compile.memory_fit import LINEAR_TRIALS, compiled_bytes, rows_that_fit


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 2000), st.integers(1, 16))
def test_four_compilations_find_the_end_of_a_straight_line(constant, per_row, rows, multiple):
    def program_bytes(shape, rows):
        asked.append(rows)
        return constant + per_row * rows

    asked: list[int] = []
    budget = constant + per_row * (rows * multiple + multiple - 1)
    assert largest_batch_size(program_bytes, (8, 8), budget, multiple_of=multiple) == rows * multiple
    assert len(asked) <= 4
    assert all(count % multiple == 0 for count in asked)


@given(st.integers(1, 5000), st.integers(1, 700), st.sampled_from([1, 7, 32]))
def test_memory_that_grows_in_leaps(rows, leap, most_leaps):
    def program_bytes(shape, rows):
        asked.append(rows)
        return 10**6 * min(rows // leap, most_leaps) ** 2 + rows

    asked: list[int] = []
    found = largest_batch_size(program_bytes, (8,), program_bytes((8,), rows), max_rows=6000)
    assert found == rows
    assert len(set(asked)) <= 12 + math.log2(6000)


def test_a_line_is_followed_for_some_trials_and_then_the_bracket_is_halved():
    def program_bytes(shape, rows):  # a leap that misleads the line: it creeps up, or guesses one row too few
        asked.append(rows)
        return rows if rows < 5000 else 10**9

    asked: list[int] = []
    assert largest_batch_size(program_bytes, (8,), 10**6, max_rows=100_000) == 4999
    *along_the_line, middle = asked[1 : LINEAR_TRIALS + 2]
    fits, exceeds = (max(n for n in along_the_line if n < 5000), min(n for n in along_the_line if n >= 5000))
    assert (fits, exceeds, along_the_line[-1]) == (398, 99_998, 99_998)
    assert middle == (fits + exceeds) // 2


def test_no_more_rows_than_wanted():
    assert largest_batch_size(lambda shape, rows: 100, (8,), 100, multiple_of=8, max_rows=100) == 96


@pytest.mark.parametrize("batching", ["bucket", "mixed"])
def test_a_real_train_step_fits_and_the_next_does_not(batching):
    trainer = Trainer(make_recipe(model={"channels": (3,), "norm": "none"}, batching=batching), make_sources())
    job = next(job for job in trainer.programs.for_training(trainer.plan(0), 0) if job.rows)
    workspace = 2**25 if jax.default_backend() == "gpu" else 0  # of a product or a convolution, whatever the rows
    budget = 100_000 + workspace
    rows = rows_that_fit(job, budget, multiple_of=4)
    assert rows >= 8
    assert rows % 4 == 0
    fitting, larger = (compiled_bytes(job.programs.compile_for(*job.args_of(n))) for n in (rows, rows + 4))
    assert fitting <= budget < larger
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trainer.programs.state))
    assert fitting > weights + rows * math.prod(job.shape) * 4  # at least the state and the batch


def test_a_share_of_the_memory_holds_its_share_of_the_rows():
    trainer = Trainer(make_recipe(model={"channels": (3,), "norm": "none"}), make_sources())
    workspace = 2**25 if jax.default_backend() == "gpu" else 0
    budget, memory = 400_000 + workspace, device_memory_bytes()
    shape, rows = trainer.rows_that_fit(budget / memory)
    jobs = trainer.programs.for_training(trainer.plan(0), 0)
    job = max(jobs, key=lambda job: math.prod(job.shape))
    assert shape == job.shape
    fitting, larger = (compiled_bytes(job.programs.compile_for(*job.args_of(n))) for n in (rows, rows + 1))
    assert fitting <= budget <= larger  # equal only where the product of share and memory is rounded down


def test_donated_arguments_count_once():
    array = jax.ShapeDtypeStruct((1000,), jnp.float32)
    kept, donated = (jax.jit(lambda x: x + 1, donate_argnums=d).lower(array).compile() for d in ((), (0,)))
    assert compiled_bytes(kept) == 8000
    assert compiled_bytes(donated) == 4000


def test_what_cannot_fit_is_said():
    with pytest.raises(ValueError, match="budget_bytes=1,000: 4 rows of bucket 6x9 need 1,016;"):
        largest_batch_size(lambda shape, rows: 1000 + 4 * rows, (6, 9), 1000, multiple_of=4)
    with pytest.raises(ValueError, match="multiple_of=0: must be 1 to max_rows=8"):
        largest_batch_size(lambda shape, rows: 1, (6, 9), 1000, multiple_of=0, max_rows=8)


def test_a_device_has_memory():
    assert device_memory_bytes() > 2**28
    assert device_memory_bytes() == device_memory_bytes(jax.devices()[0])
