"""What a data set is and what is wrong with it, before anything is trained on it."""

from fcnjax.data.overview.data_overview import DataOverview, data_overview
from fcnjax.data.overview.leakage import Leak, find_leaks
from fcnjax.data.overview.overview_text import overview_text
from fcnjax.data.overview.pixel_moments import PixelMoments, measure_moments

__all__ = [
    "DataOverview",
    "Leak",
    "PixelMoments",
    "data_overview",
    "find_leaks",
    "measure_moments",
    "overview_text",
]
