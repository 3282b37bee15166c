"""The settings of a run: a frozen `Recipe` of validated groups, made from a config."""

from fcnjax.training.settings.data_settings import DataSettings, FrontendSettings
from fcnjax.training.settings.learning_settings import LossSettings, OptimizerSettings
from fcnjax.training.settings.observation_settings import LogSettings, ProfileSettings
from fcnjax.training.settings.recipe import (
    HeadSettings,
    LoaderSettings,
    ModelSettings,
    Recipe,
)

__all__ = [
    "DataSettings",
    "FrontendSettings",
    "HeadSettings",
    "LoaderSettings",
    "LogSettings",
    "LossSettings",
    "ModelSettings",
    "OptimizerSettings",
    "ProfileSettings",
    "Recipe",
]
