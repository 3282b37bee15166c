"""Compiled programs: one per bucket shape, on one or many devices, cached on disk and fitted to memory."""

from fcnjax.training.compile.compilation import CompiledByShape, jit
from fcnjax.training.compile.memory_fit import (
    device_memory_bytes,
    fit_batch_sizes,
    largest_batch_size,
    train_step_bytes,
)

__all__ = [
    "CompiledByShape",
    "device_memory_bytes",
    "fit_batch_sizes",
    "jit",
    "largest_batch_size",
    "train_step_bytes",
]
