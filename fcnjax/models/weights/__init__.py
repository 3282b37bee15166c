"""Weights from and to other libraries: PyTorch state dicts, read from files and loaded into networks, and written."""

from fcnjax.models.weights.state_dict_files import read_state_dict
from fcnjax.models.weights.torch_weights import create_from_state_dict, load_state_dict, to_state_dict

__all__ = ["create_from_state_dict", "load_state_dict", "read_state_dict", "to_state_dict"]
