"""Experiments, one short file per question."""
