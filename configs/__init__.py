"""Configs, one file per data set or recipe: its `get_config(network)` returns all fields of a run."""
