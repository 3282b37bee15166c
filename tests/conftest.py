"""What all tests share: strict JAX, fast compilation, and a deterministic Hypothesis."""

import os

# Tests neither read nor write the user's cache of compiled programs.
os.environ["FCNJAX_CACHE_DIR"] = ""

import hypothesis
import jax
import pytest

from fcnjax.xla import CPU_COMPILER, FLAGS, add_flags

# The tests compile many small programs and run each a few times: LLVM's optimizer would take half of their time. Test
# processes already share the cores, so each compiles in one thread.
if FLAGS not in os.environ:
    add_flags(
        "cpu",
        CPU_COMPILER,
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
    # A GPU's compiler refuses optimization levels below 2. It neither times several kernels for each product, which
    # takes longer than a test runs, nor chooses one that adds in another order each time.
    add_flags("gpu", "--xla_gpu_exclude_nondeterministic_ops=true", "--xla_gpu_autotune_level=0")
# Test processes share a GPU: none takes most of its memory when it starts.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Masks and statistics of a wrong rank would broadcast silently.
jax.config.update("jax_numpy_rank_promotion", "raise")
# Draws are the same in every run: a failure in CI can be reproduced on any machine.
hypothesis.settings.register_profile("fcnjax", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fcnjax"))


@pytest.fixture
def on_a_cpu(monkeypatch):
    """Computes on a CPU, for tests of what only CPUs do."""
    try:
        device = jax.devices("cpu")[0]
    except RuntimeError:
        pytest.skip("JAX_PLATFORMS leaves out the CPU, whose code this tests")
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with jax.default_device(device):
        yield


collect_ignore_glob = ["*/conftest.py"]  # --doctest-modules would import all of them as one module
