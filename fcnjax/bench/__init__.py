"""Benchmarks: what the masks cost, and how the layers compare with other implementations, side by side in one run."""
