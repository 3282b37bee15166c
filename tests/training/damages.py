"""Damages to files, for tests of what is read back."""

import random
from pathlib import Path

DAMAGES = ("flip", "truncate", "delete")


def flip(file: Path, place: float = 0.5) -> None:
    """Flips one bit."""
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 8
    file.write_bytes(content)


def damage(file: Path, how: str, rng: random.Random) -> None:
    """Flips a bit at a random place, cuts the file at one, or removes it."""
    if how == "delete":
        file.unlink()
    elif how == "truncate":
        file.write_bytes(file.read_bytes()[: rng.randrange(max(1, file.stat().st_size))])
    elif file.stat().st_size:
        flip(file, rng.random())
