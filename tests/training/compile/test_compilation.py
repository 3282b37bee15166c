"""One program per bucket, and no compilation after the first epoch."""

import dataclasses
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted_compilations
from synthetic_data import make_recipe, make_sources

from fcnjax.data import ArraySource
from fcnjax.training import CompiledByShape, Trainer, train
from fcnjax.training import trainer as trainer_module
from fcnjax.training.compile import compilation
from fcnjax.training.compile.compilation import (
    Compilation,
    CompileSettings,
    UnplannedCompilation,
    compile_options,
    compiling_ahead,
    core_count,
    processor,
)
from fcnjax.training.compile.memory_fit import compiled_bytes
from fcnjax.training.run import describe_run, loop
from fcnjax.xla import FLAGS, refused


def test_the_counter_sees_a_compilation_and_only_the_first():
    function = jax.jit(lambda x: jnp.sin(x) * 3.25)
    argument = jnp.ones(7)
    with counted_compilations() as seen:
        function(argument)
        assert len(seen) == 1
        function(argument)
        assert len(seen) == 1


def test_a_processor_is_named_by_its_model_and_widest_instructions(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: First: 2 GHz\nflags\t\t: avx avx2 fma\n\nmodel name\t: Second\nflags\t\t: avx512f\n")
    monkeypatch.setattr("fcnjax.training.compile.compilation.CPU_INFO", info)
    assert processor() == f"First: 2 GHz, avx2, {core_count()} cores"
    info.unlink()
    assert processor().endswith(f"{core_count()} cores")


def test_options_of_programs_on_a_cpu_are_pinned(on_a_cpu, monkeypatch):
    """Which compiler computes what decides how fast a run is, and its last digits."""
    monkeypatch.delenv(FLAGS, raising=False)  # flags of the environment take precedence
    wanted = {
        "xla_cpu_use_fusion_emitters": False,
        "xla_backend_optimization_level": "1",
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
    }
    remat = wanted | {"xla_disable_hlo_passes": "cse_barrier_expander"}
    if "xla_cpu_use_fusion_emitters" in refused():
        wanted.pop("xla_backend_optimization_level"), remat.pop("xla_backend_optimization_level")
    for settings, options in ((CompileSettings(), wanted), (CompileSettings(remat=True), remat)):
        assert compile_options(settings) == {n: v for n, v in options.items() if n not in refused()}


def test_a_cpu_that_refuses_the_emitters_keeps_its_optimization_level(on_a_cpu, monkeypatch):
    """Level 1 without the older emitters computes slower, not faster."""
    monkeypatch.delenv(FLAGS, raising=False)
    monkeypatch.setattr(compilation, "refused", lambda: frozenset({"xla_cpu_use_fusion_emitters"}))
    assert "xla_backend_optimization_level" not in compile_options(CompileSettings())
    monkeypatch.setattr(compilation, "refused", frozenset)
    assert "xla_backend_optimization_level" in compile_options(CompileSettings())


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("precision", ["default", "float32"])
def test_options_of_programs_on_a_gpu_are_pinned(deterministic, precision, monkeypatch):
    monkeypatch.setattr(compilation.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(compilation, "accepted_options", lambda options: options)  # this backend knows none of them
    wanted = {"xla_gpu_experimental_enable_fusion_autotuner": False, "xla_gpu_autotune_max_solutions": "16"}
    wanted |= {"xla_gpu_exclude_nondeterministic_ops": True} if deterministic else {}
    wanted |= {"xla_gpu_enable_triton_gemm": False} if precision == "float32" else {}
    assert compile_options(CompileSettings(deterministic=deterministic, precision=precision)) == wanted
    monkeypatch.setattr(compilation.jax, "default_backend", lambda: "tpu")
    assert compile_options(CompileSettings(deterministic=deterministic, precision=precision)) == {}


def test_one_program_for_each_shape_kept_and_called_again():
    def double(x):
        return 2 * x

    compiled = CompiledByShape(double)
    short, long = jnp.arange(3), jnp.arange(5)
    with counted_compilations() as seen:
        for array in (short, long, short, long):
            assert compiled(array.shape, array).tolist() == [2 * n for n in range(len(array))]
        assert len(seen) == 2
    assert set(compiled.programs) == {(3,), (5,)}
    assert compiled.seconds > 0


def test_a_run_compiles_one_program_per_bucket_and_a_second_epoch_none(sources, tmp_path, monkeypatch):
    """A whole run through the loop, checkpoints and validation included."""
    recipe = make_recipe(epochs=3, batch_size=4)
    trainer = Trainer(recipe, sources)
    evaluate, at_validation = trainer.evaluate, []

    def watched(state, name):
        result = evaluate(state, name)
        if name == "validation":
            at_validation.append(len(seen))
        return result

    monkeypatch.setattr(trainer, "evaluate", watched)
    with counted_compilations() as seen:
        train(recipe, tmp_path / "run", trainer=trainer, progress=False)
    shapes = {(10, 10), (16, 18)}
    assert {tuple(shape) for shape in trainer.buckets.shapes.tolist()} == shapes
    assert set(trainer.programs.train_step.programs) == shapes
    assert set(trainer.programs.evaluation_step.programs) == shapes
    assert seen.count("jit(step)") == 4
    assert len(at_validation) == 3
    assert len(set(at_validation)) == 1, f"compiled after the first epoch: {seen[at_validation[0] :]}"


def test_what_will_be_compiled_is_told_before(sources):
    trainer = Trainer(make_recipe(), sources)
    told = describe_run(trainer)
    assert "programs to compile: 2 for training, 2 for evaluation" in told
    assert "buckets 10x10, 16x18" in told
    assert "3 epochs of 3 steps, up to 8 examples each" in told


def test_another_seed_compiles_nothing(trainer):
    """Runs of one recipe share a trainer."""
    for _ in trainer.fit(trainer.initial_state(0), 0):
        pass
    state = trainer.initial_state(1)
    with counted_compilations() as seen:
        for _ in trainer.fit(state, 1):
            pass
    assert not seen


def test_data_below_the_minimum_size_is_refused_before_anything_compiles(sources):
    recipe = make_recipe(model={"channels": (4,) * 4})
    with pytest.raises(
        ValueError, match="^synthetic, train split: example 0 of size 8x10, and 17 more: below .* minimum"
    ):
        Trainer(recipe, sources)


def test_programs_are_compiled_ahead_in_the_order_of_their_first_use(sources):
    trainer = Trainer(make_recipe(batch_size=4), sources)
    jobs = trainer.compilations(seed=0, start=0)
    plan = trainer.plan(0)
    first_use = list(dict.fromkeys(plan.step(step).shape for step in range(plan.steps_per_epoch)))
    training = [job.shape for job in jobs if job.programs is trainer.programs.train_step]
    assert training == first_use
    assert jobs[: len(training)] == [job for job in jobs if job.programs is trainer.programs.train_step]
    with compiling_ahead(jobs, progress=False):
        for job in jobs:
            job.programs.compile(job.shape, *job.args)  # waits for the thread that compiles it, or compiles it here
    assert set(trainer.programs.train_step.programs) == set(first_use)
    with counted_compilations() as seen:
        state = trainer.initial_state(0)
        assert seen == ["jit(_make_state)"]  # only weights are drawn; the steps were compiled from shapes
        for done in trainer.fit(state, 0):
            state = done.state
        trainer.evaluate(state, "validation")
        trainer.evaluate(state, "test")
        assert seen == ["jit(_make_state)"]


def test_the_others_wait_for_the_first_step_unless_there_is_a_thread_for_each(monkeypatch):
    def make_jobs():
        programs = CompiledByShape(jnp.sin)
        return programs, [Compilation(programs, (n,), (jnp.zeros(n),)) for n in (1, 2, 3, 4)]

    programs, jobs = make_jobs()
    with compiling_ahead(jobs, first=jobs[2:3], progress=False, threads=3) as compile_others:
        programs.compile((3,), *jobs[2].args)  # waits for it
        assert set(programs.programs) == {(3,)}
        compile_others()
        done = [programs.compile(job.shape, *job.args) for job in jobs]
    assert [float(program(jnp.zeros(n)).sum()) for n, program in enumerate(done, 1)] == [0, 0, 0, 0]

    class Bar:
        """Counts the programs that a progress bar shows."""

        def __init__(self, total, **_):
            self.total, self.shown = total, 0
            bars.append(self)

        def update(self):
            self.shown += 1

        def close(self):
            assert self.shown == self.total

    bars: list[Bar] = []
    monkeypatch.setattr(compilation, "progress_bar", Bar)
    programs, jobs = make_jobs()
    told = threading.Event()
    with compiling_ahead(jobs, first=jobs[2:3], progress=False, threads=4, done=lambda jobs, seconds: told.set()):
        assert told.wait(60)
    assert set(programs.programs) == {(1,), (2,), (3,), (4,)}
    assert [(bar.shown, bar.total) for bar in bars] == [(4, 4)]


def test_what_was_compiled_is_told_once(sources, capsys):
    jobs, told = Trainer(make_recipe(), sources).compilations(seed=0, start=0), threading.Event()

    def tell(new, seconds):
        assert new == jobs
        loop._report_compiled(new, seconds)
        told.set()

    with compiling_ahead(jobs, progress=False, done=tell):
        assert told.wait(120)
    said, bar = capsys.readouterr()
    assert "compiling" not in bar
    assert said.startswith(f"{len(jobs)} programs compiled after ")
    for kind in ("train", "evaluate"):
        for shape in ("10x10", "16x18"):
            assert re.search(rf"^  {kind} {shape}: \d+ MiB$", said, re.MULTILINE)


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 0.5)])
def test_the_parts_of_mixed_steps_are_compiled_ahead(sources, weights):
    recipe = make_recipe(batching="mixed", batch_size=6, loss={"class_weights": weights})
    trainer = Trainer(recipe, sources)
    for job in trainer.compilations(seed=0, start=0):
        job.programs.compile(job.shape, *job.args)
    state = trainer.initial_state(0)
    with counted_compilations() as seen:
        for done in trainer.fit(state, 0):
            state = done.state
    assert not seen


def test_mid_epoch_every_bucket_of_mixed_steps_is_planned():
    """One example needs its own bucket; the steps from the middle of an epoch on may not use it."""
    values = [np.ones((4, 4, 1), np.float32)] * 63 + [np.ones((30, 30, 1), np.float32)]
    source = ArraySource(values, [0, 1] * 32, class_names=("a", "b"))
    recipe = make_recipe(batching="mixed", batch_size=8, epochs=4)
    trainer = Trainer(recipe, dict.fromkeys(("train", "validation", "test"), source))
    for start in range(trainer.steps):
        jobs = trainer.programs.for_training(trainer.plan(0), start)
        assert {job.shape for job in jobs if job.rows} == {(4, 4), (30, 30)}


def test_a_shape_that_no_plan_named_is_a_warning_and_compiled_once():
    compiled = CompiledByShape(lambda x: x + 1, name="train")
    compiled.planned = {(3,)}
    assert compiled((3,), jnp.arange(3)).tolist() == [1, 2, 3]
    with pytest.warns(
        UnplannedCompilation, match=r"^train: the plan does not have the bucket shape \(5,\); compiling it now"
    ):
        compiled((5,), jnp.arange(5))
    assert compiled((5,), jnp.arange(5)).tolist() == [1, 2, 3, 4, 5]  # a warning is an error in these tests


def test_a_run_refuses_compilations_that_it_did_not_plan(sources):
    trainer = Trainer(make_recipe(), sources)
    trainer.compilations(seed=0, start=0)
    (step, batch), *_ = trainer.batches(0, 0, 1)
    with pytest.raises(UnplannedCompilation):
        trainer.step(trainer.initial_state(0), 0, step._replace(shape=(99, 99)), batch)


def test_threads_that_want_the_same_program_share_one_compilation():
    compiled, argument = CompiledByShape(lambda x: jnp.cos(x) @ x.T), jnp.ones((4, 4))
    with counted_compilations() as seen, ThreadPoolExecutor(4) as pool:
        programs = list(pool.map(lambda _: compiled.compile((4, 4), argument), range(8)))
    assert len(seen) == 1
    assert len(set(map(id, programs))) == 1


def test_a_program_that_cannot_be_compiled_is_told_to_who_calls_it():
    def broken(x):
        raise ValueError("no such operation")

    compiled = CompiledByShape(broken)
    job = Compilation(compiled, (2,), (jnp.ones(2),))
    with compiling_ahead([job], progress=False), pytest.raises(ValueError, match="no such operation"):
        compiled((2,), jnp.ones(2))


def test_a_program_that_does_not_fit_is_refused_before_the_first_step(sources, tmp_path, monkeypatch):
    recipe = make_recipe(model={"norm": "none"})
    trainer = Trainer(recipe, sources)
    (largest,) = (job for job in trainer.compilations(0, 0)[:2] if job.shape == (16, 18))
    needed = compiled_bytes(largest.programs.compile(largest.shape, *largest.args))
    monkeypatch.setattr(trainer_module, "device_memory_bytes", lambda device=None: needed)
    trainer.check_memory(trainer.compilations(0, 0))  # a budget that suffices
    monkeypatch.setattr(trainer_module, "device_memory_bytes", lambda device=None: needed - 1)
    with pytest.raises(ValueError, match=r"bucket 16x18: a program with 8 rows needs .*; \d rows fit") as caught:
        train(recipe, tmp_path / "run", trainer=trainer, progress=False)
    assert not (tmp_path / "run").exists()  # the folder is free for a recipe that fits
    budget = int(re.search(r"config\.pixel_budget=(\d+)", str(caught.value))[1])
    smaller = Trainer(dataclasses.replace(recipe, pixel_budget=budget), sources)
    smaller.check_memory(smaller.compilations(0, 0))
    monkeypatch.setattr(trainer_module, "device_memory_bytes", lambda device=None: 1)
    with pytest.raises(ValueError, match=r"needs .* GiB, the device has 0\.0 GiB; not even one row fits: make the ex"):
        smaller.check_memory(smaller.compilations(0, 0))


def test_waiting_for_any_program_of_training_counts():
    programs = Trainer(make_recipe(batching="mixed"), make_sources()).programs
    assert programs.waited == 0
    programs.train_step.waited, programs.accumulate_step.waited, programs.update.waited = 1.0, 20.0, 300.0
    programs.evaluation_step.waited = 4000.0
    assert programs.waited == 321


def test_a_run_waits_for_the_programs_up_to_its_first_step_and_the_largest():
    trainer = Trainer(make_recipe(max_buckets=3), make_sources())
    jobs = trainer.compilations(0, 0)
    first = next(index for index, job in enumerate(jobs) if job.rows)
    assert trainer.programs.begins_with(jobs) == [*jobs[: first + 1], trainer.programs.largest(jobs)]
    later = [trainer.programs.for_checkpoints()[0], *jobs[first:]]
    assert trainer.programs.begins_with(later)[:-1] == later[:2]
    largest = trainer.programs.largest(jobs)
    training = [job for job in jobs if job.programs is trainer.programs.train_step]
    assert largest.positions == max(job.positions for job in training)
