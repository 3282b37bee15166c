"""What all tests share: strict JAX, one prepared data set, a deterministic Hypothesis."""

import os

import hypothesis
import jax

# Silent broadcasting between ranks is how masks and statistics go wrong unseen.
jax.config.update("jax_numpy_rank_promotion", "raise")
# Draws are the same on every machine and run: a failure in CI is a failure at a desk.
hypothesis.settings.register_profile("fcnjax", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fcnjax"))
