"""Configs, one per data set or recipe: each file has a `get_config()`."""
