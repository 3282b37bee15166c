"""Experiments, one short file per question."""

from fcnjax import installation  # noqa: F401  (the package itself: it names a missing dependency in one sentence)
