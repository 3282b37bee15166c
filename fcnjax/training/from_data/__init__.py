"""A recipe from data alone: what a folder, a file or arrays hold, and the settings that suit them."""

from fcnjax.training.from_data.choice import Choice, Settled, choose_config, settle
from fcnjax.training.from_data.found_data import FoundData, find_data

__all__ = ["Choice", "FoundData", "Settled", "choose_config", "find_data", "settle"]
