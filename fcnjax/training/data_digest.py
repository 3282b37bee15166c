"""Hashes of the data of a run: what a run folder keeps, so that an interrupted run does not go on with other data."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fcnjax.data import Source

Digest = dict[str, dict[str, str]]
INIT = "init_from"  # the entry of the weights that training starts from


def data_digest(sources: Mapping[str, Source]) -> Digest:
    """Returns what identifies the data of each split, as in `data.json`.

    Args:
        sources: the splits by name.

    Returns:
        For each split, `examples`: a hash of sizes, ids, names and classes; `contents`: a hash of labels and values or
        of a sample of them; `covers`: what `contents` covers; and, if examples have weights, `weights`: a hash of them.

    Raises:
        OSError: if examples or files cannot be read.
    """
    digests = {}
    for name, source in sources.items():
        names = "\0".join((*source.class_names, "", *(source.names or ()))).encode("utf-8", "surrogateescape")
        parts = (source.sizes.tobytes(), source.ids.tobytes(), names)
        covers, contents = source.contents
        examples = hashlib.sha256(b"\0".join(parts)).hexdigest()
        digests[name] = {"examples": examples, "contents": contents, "covers": covers}
        if source.weights is not None:
            weights = np.asarray(source.weights, np.float32).tobytes()
            digests[name]["weights"] = hashlib.sha256(weights).hexdigest()
    return digests


def changed_data(known: Mapping[str, Any], digest: Digest) -> str | None:
    """Returns what has changed since a run started, such as "labels or values of its train split"; None for nothing.

    Args:
        known: the digest that the run folder holds; an earlier version wrote the hash of the examples alone.
        digest: the digest of the data of now.
    """
    for name, now in digest.items():
        then = _entry(known, name)
        if name == INIT and then.get("contents") != now["contents"]:
            return "weights of config.init_from"
        if then.get("examples") != now["examples"]:
            return f"examples of its {name} split"
        if then.get("weights") != now.get("weights"):
            return f"weights of the examples of its {name} split"
        if then.get("covers") == now["covers"] and then.get("contents") != now["contents"]:
            return f"labels or values of its {name} split (compared: {now['covers']})"
    return None


def not_compared(known: Mapping[str, Any], digest: Digest) -> list[str]:
    """Returns the splits whose labels and values cannot be compared: they were not hashed, or in another way."""
    return [name for name, now in digest.items() if _entry(known, name).get("covers") != now["covers"]]


def _entry(known: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    entry = known.get(name)
    return entry if isinstance(entry, dict) else {"examples": entry}
