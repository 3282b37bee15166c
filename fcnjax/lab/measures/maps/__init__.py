"""Measures of maps: of the features at each position, and of class maps."""
