"""Configs, one per data set or recipe: `get_config(network)` of each file returns all fields of a run."""
