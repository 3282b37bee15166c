"""Finds the state dict of a network in a checkpoint of training, and takes prefixes of wrappers off its names."""

from collections.abc import Mapping
from typing import Any

from fcnjax.models.weights.state_dict_files import StateDictError, is_tensor, named_contents

CURRENT = ("state_dict", "model_state_dict", "model", "network", "net", "module", "weights", "params")
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema", "shadow")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.")
ARCHITECTURE = "arch"  # where timm and PyTorch's ImageNet example keep the name of the network
MOST = 0.9  # share of the names that begin with a prefix, from which on it is a wrapper's
COUNTERS = ("n_averaged",)  # of PyTorch's `AveragedModel`, beside the names with its prefix
DEEPEST = 6  # dictionaries within dictionaries
LISTED = 8  # names that a note lists


class Unwrapping:
    """Chooses the tensors of a network from what a file holds; give it to `read_state_dict`.

    Args:
        ema: whether to take averaged weights instead of the current ones.

    Attributes:
        notes: sentences on what was taken and what was left, after the call.
        architecture: name of the network that the checkpoint declares, or None.
    """

    def __init__(self, *, ema: bool = False):
        self.ema, self.notes = ema, list[str]()
        self.architecture: str | None = None
        self._average = False

    def __call__(self, contents: Any) -> Mapping[str, Any]:
        """Returns the tensors of the network by name, without prefixes.

        Raises:
            StateDictError: if there are none, two would have one name, or averaged weights are wanted and absent.
        """
        found = named_contents(contents)
        declared = found.get(ARCHITECTURE)
        self.architecture = declared if isinstance(declared, str) else None
        state = self._descend(found, DEEPEST)
        if self.ema and not self._average:
            raise StateDictError(f"--ema: holds no averaged weights (none of {', '.join(AVERAGED)}); leave --ema out.")
        return self._without_prefixes(state)

    def _descend(self, found: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """Returns the tensors in a dictionary, or those of the dictionary within it that holds a state dict."""
        inner = {name for name, value in found.items() if _holds_tensors(value)}
        current, averaged = (next((name for name in names if name in inner), None) for names in (CURRENT, AVERAGED))
        taken = averaged if averaged and (self.ema or current is None) else current
        if taken is None or depth == 0:
            tensors = {name: value for name, value in found.items() if is_tensor(value)}
            if not tensors:
                keys = ", ".join(map(repr, list(found)[:LISTED])) or "nothing"
                raise StateDictError(f"holds no state dict under a known name, but {keys}; save model.state_dict().")
            self._note_left(name for name in found if name not in tensors)
            return tensors
        if taken == averaged:
            self._average = True
            self.notes.append(f"took the averaged weights {taken!r}")
        elif averaged:
            self.notes.append(f"took {taken!r}, not the averaged weights {averaged!r}: --ema takes those")
        else:
            self.notes.append(f"took {taken!r}")
        self._note_left(name for name in found if name not in (current, averaged, ARCHITECTURE))
        return self._descend(found[taken], depth - 1)

    def _note_left(self, names: Any) -> None:
        names = sorted(names)
        if names:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            self.notes.append(f"ignored {', '.join(names[:LISTED])}{more}")

    def _without_prefixes(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        while prefix := next((each for each in PREFIXES if _has_most(state, each)), None):
            names = {name: name.removeprefix(prefix) for name in state if name not in COUNTERS}
            if len(set(names.values())) < len(names):
                raise StateDictError(f"holds some names with and without {prefix!r}; save one network alone.")
            self.notes.append(f"took the prefix {prefix!r} off the names")
            state = {names[name]: value for name, value in state.items() if name in names}
        return state


def _has_most(state: Mapping[str, Any], prefix: str) -> bool:
    names = [name for name in state if name not in COUNTERS]
    return sum(name.startswith(prefix) for name in names) >= max(1, MOST * len(names))


def _holds_tensors(value: Any) -> bool:
    """Returns whether a value is a dictionary of names with tensors in it, or in one of its dictionaries."""
    waiting, seen = [value], set[int]()  # a pickle may hold itself
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict) and id(found) not in seen and all(isinstance(name, str) for name in found):
            seen.add(id(found))
            if any(map(is_tensor, found.values())):
                return True
            waiting += found.values()
    return False
