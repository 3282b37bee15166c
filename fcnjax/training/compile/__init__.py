"""Compiled programs: one per bucket shape, on one or many devices, cached on disk and fitted to memory."""

from fcnjax.training.compile.compilation import CompiledByShape, jit
from fcnjax.training.compile.memory_fit import device_memory_bytes, largest_batch_size

__all__ = ["CompiledByShape", "device_memory_bytes", "jit", "largest_batch_size"]
