"""XLA receives only the options and flags that it accepts; the others are reported."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcnjax import xla
from fcnjax.training.compile import compilation
from fcnjax.training.compile.compilation import CompileSettings, compile_options, jit

pytestmark = pytest.mark.usefixtures("on_a_cpu")
KNOWN, UNKNOWN = "xla_cpu_enable_fast_math", "xla_no_such_option"


def run_python(code, **environ):
    """Runs code in a process with only the flags in `environ`; returns its output, or fails with its errors."""
    inherited = {name: value for name, value in os.environ.items() if name != xla.FLAGS} | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", f"import os; from fcnjax import xla; {code}"]
    ended = subprocess.run(command, env=inherited | environ, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_an_option_that_xla_does_not_know_is_left_out_and_named():
    assert xla.accepted_options({UNKNOWN: True, KNOWN: False}) == {KNOWN: False}
    assert UNKNOWN in xla.refused()
    assert KNOWN not in xla.refused()
    with pytest.raises(jax.errors.JaxRuntimeError, match=UNKNOWN):  # leaving the option out avoids this
        jax.jit(lambda: 1, compiler_options={UNKNOWN: True})()


def test_a_value_that_xla_does_not_accept_is_left_out():
    assert xla.accepted_options({"xla_cpu_scheduler_type": "NO_SUCH_TYPE"}) == {}
    assert "xla_cpu_scheduler_type" in xla.refused()


def test_an_option_is_tried_once(monkeypatch):
    xla.accepted_options({KNOWN: False})
    monkeypatch.setattr(xla.jax, "jit", None)
    assert xla.accepted_options({KNOWN: False}) == {KNOWN: False}


def test_an_option_that_xla_flags_sets_is_left_out(monkeypatch):
    monkeypatch.setenv(xla.FLAGS, f"--{KNOWN}=true")
    assert xla.accepted_options({KNOWN: False}) == {}


def test_options_are_those_of_the_cpu_only(monkeypatch):
    assert compile_options(CompileSettings(remat=True)).keys() <= {
        "xla_cpu_use_fusion_emitters",
        "xla_backend_optimization_level",
        "xla_cpu_experimental_ynn_fusion_type",
        "xla_disable_hlo_passes",
    }
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert compile_options(CompileSettings(remat=True)) == {}


def test_a_gpu_computes_the_same_bits_in_every_run_if_the_settings_say_so(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compile_options(CompileSettings(deterministic=True)).pop("xla_gpu_exclude_nondeterministic_ops") is True
    assert "xla_gpu_exclude_nondeterministic_ops" not in compile_options()


def test_a_gpus_compiler_tries_few_kernels(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    few = {"xla_gpu_autotune_max_solutions": "16", "xla_gpu_experimental_enable_fusion_autotuner": False}
    assert compile_options() == {"xla_gpu_enable_triton_gemm": False, **few}
    assert compile_options(CompileSettings(precision="tf32")) == few


def test_the_options_reach_the_compiler(monkeypatch):
    monkeypatch.setattr(compilation, "compile_options", lambda settings: {UNKNOWN: settings.deterministic})
    with pytest.raises(jax.errors.JaxRuntimeError, match=UNKNOWN):
        jit(lambda x: x + 1)(jnp.float32(1))


def test_the_level_depends_on_what_xla_has_and_not_on_what_sets_the_emitters(monkeypatch):
    monkeypatch.setenv(xla.FLAGS, "")
    level = compile_options().get("xla_backend_optimization_level")
    assert (level is None) == ("xla_cpu_use_fusion_emitters" in xla.refused())
    monkeypatch.setenv(xla.FLAGS, "--xla_cpu_use_fusion_emitters=true")
    assert compile_options().get("xla_backend_optimization_level") == level


def test_programs_compile_where_xla_refuses_every_option(monkeypatch):
    monkeypatch.setattr(xla, "_accepts", lambda name, value: False)
    assert compile_options(CompileSettings(remat=True)) == {}
    assert jit(lambda x: x + 1, settings=CompileSettings(remat=True))(jnp.float32(1)) == 2


def test_flags_that_xla_knows_are_added_and_others_would_have_ended_the_process():
    code = (
        f"xla.add_flags('cpu', '--{KNOWN}=false', '--{UNKNOWN}=1', xla.CPU_COMPILER); "
        "print(os.environ[xla.FLAGS], xla.refused(), repr(xla.given_flags())); "
        "import jax.numpy as jnp; print(jnp.arange(3).sum())"
    )
    said, total = run_python(code).splitlines()
    assert said == f"--{KNOWN}=false {xla.CPU_COMPILER} ['--{UNKNOWN}=1'] ''"
    assert total == "3"
    environ = {**os.environ, xla.FLAGS: f"--{UNKNOWN}=1"}
    dead = subprocess.run([sys.executable, "-c", "import jax; jax.devices()"], env=environ, capture_output=True)
    assert dead.returncode != 0


def test_flags_of_the_user_stay_and_are_told_apart():
    code = (
        f"xla.add_flags('cpu', '--{KNOWN}=false', '--xla_cpu_enable_fast_min_max=false'); "
        "print(os.environ[xla.FLAGS]); print(xla.given_flags())"
    )
    both, given = run_python(code, XLA_FLAGS=f"--{KNOWN}=true").splitlines()
    assert both == f"--{KNOWN}=true --xla_cpu_enable_fast_min_max=false"
    assert given == f"--{KNOWN}=true"


@pytest.mark.parametrize("accelerator", ["JAX_PLATFORMS", "plugin"])
def test_no_flags_of_the_cpu_where_an_accelerator_may_be_the_backend(tmp_path, accelerator):
    (tmp_path / "jax_plugins").mkdir()
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environ = {"JAX_PLATFORMS": "cuda,cpu"} if accelerator == "JAX_PLATFORMS" else {"PYTHONPATH": paths}
    environ = {"JAX_PLATFORMS": ""} | environ
    code = f"xla.add_flags('cpu', '--{KNOWN}=false'); print(os.environ.get(xla.FLAGS))"
    assert run_python(code, **environ) == "None"
    environ["JAX_PLATFORMS"] = "cpu"
    assert run_python(code, **environ) == f"--{KNOWN}=false"


def boundary_texts(function):
    """Returns the programs before and after XLA's passes."""
    lowered = jax.jit(lambda x: xla.fusion_boundary(function)(2 * x) + 1).lower(jnp.ones((8, 4)))
    return lowered.as_text(dialect="hlo"), lowered.compile().as_text()


def test_a_fusion_boundary_survives_the_compiler_and_changes_no_value(monkeypatch):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    with_boundary = jax.jit(lambda x: xla.fusion_boundary(jnp.sin)(2 * x) + 1)
    values, gradient = with_boundary(x), jax.grad(lambda x: with_boundary(x).sum())(x)
    before, after = boundary_texts(jnp.sin)
    assert 'inlineable="false"' in before
    assert " call(" in after, "XLA has inlined the call: this version ignores the metadata"
    monkeypatch.setattr(xla, "set_xla_metadata", None)
    assert "inlineable" not in boundary_texts(jnp.sin)[0]
    assert "jax.experimental.xla_metadata" in xla.refused()
    without = jax.jit(lambda x: xla.fusion_boundary(jnp.sin)(2 * x) + 1)
    np.testing.assert_allclose(values, without(x), rtol=1e-6)
    np.testing.assert_allclose(gradient, jax.grad(lambda x: without(x).sum())(x), rtol=1e-6)


def make_choice():
    """Returns a new function, since JAX remembers the trace of a function."""
    return lambda values: xla.by_platform(values, cpu=lambda x: x + 1, default=lambda x: x + 2)


@pytest.mark.usefixtures("on_a_cpu")
def test_a_program_for_one_platform_holds_one_choice():
    values = jnp.zeros(3)
    assert "cond" in str(jax.make_jaxpr(make_choice())(values))
    np.testing.assert_array_equal(jax.jit(make_choice())(values), 1)
    for platform, found in {"cpu": 1, "gpu": 2, "tpu": 2}.items():
        with xla.compiling_for(platform):
            assert "cond" not in str(jax.make_jaxpr(make_choice())(values))
            np.testing.assert_array_equal(make_choice()(values), found)
    assert "cond" in str(jax.make_jaxpr(make_choice())(values)), "the choice ends with the block"


@pytest.mark.usefixtures("on_a_cpu")
def test_training_compiles_for_the_default_backend():
    jitted = jit(make_choice())
    assert "cond" not in str(jitted.trace(jnp.zeros(3)).jaxpr)
    np.testing.assert_array_equal(jitted(jnp.zeros(3)), 1)


def test_a_boundary_takes_static_arguments_and_traces_a_function_once_per_shape():
    traces = []

    def scaled(values, factor):
        traces.append(factor)
        return values * factor

    bounded = xla.fusion_boundary(scaled, static_argnums=(1,))
    values = jnp.ones(3)
    found = jax.jit(lambda x: bounded(x, 2) + bounded(x, 2) + bounded(x, 3))(values)
    np.testing.assert_array_equal(found, 7)
    assert traces == [2, 3]
