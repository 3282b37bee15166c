"""What all tests share: strict JAX, one prepared data set, a deterministic Hypothesis."""

import os

# Tests neither read nor leave compiled programs in the user's cache.
os.environ["FCNJAX_CACHE_DIR"] = ""

import hypothesis
import jax

from fcnjax.xla import FLAGS, OLD_EMITTERS, add_cpu_flags

# The tests compile many small programs and run each a few times: half of their time would be LLVM's optimizer. Their
# processes share the cores already, so none compiles in several threads.
if FLAGS not in os.environ:
    add_cpu_flags(
        OLD_EMITTERS,
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
# Silent broadcasting between ranks is how masks and statistics go wrong unseen.
jax.config.update("jax_numpy_rank_promotion", "raise")
# Draws are the same on every machine and run: a failure in CI is a failure at a desk.
hypothesis.settings.register_profile("fcnjax", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fcnjax"))

collect_ignore_glob = ["*/conftest.py"]  # --doctest-modules would take all of them for one module
