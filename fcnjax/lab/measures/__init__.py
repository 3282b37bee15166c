"""Measures: functions from a trained run to what is measured of it."""

from fcnjax.lab.measures.batching import InBuckets as InBuckets
from fcnjax.lab.measures.batching import RemeasuredStatistics as RemeasuredStatistics
from fcnjax.lab.measures.canvases import OnCanvases as OnCanvases
from fcnjax.lab.measures.dense_head import AtAnySize as AtAnySize
from fcnjax.lab.measures.dense_head import SlidingCrops as SlidingCrops
from fcnjax.lab.measures.maps.localization import Localization as Localization
from fcnjax.lab.measures.maps.positions import PositionProbe as PositionProbe
from fcnjax.lab.measures.maps.positions import RolledFeatures as RolledFeatures
from fcnjax.lab.measures.maps.positions import RolledScores as RolledScores
from fcnjax.lab.measures.maps.receptive_fields import ReceptiveFields as ReceptiveFields
from fcnjax.lab.measures.one_function import SameFunction as SameFunction
from fcnjax.lab.measures.other_sizes import AtSizes as AtSizes
from fcnjax.lab.measures.overfitting import Overfitting as Overfitting
from fcnjax.lab.measures.pixels import BucketCosts as BucketCosts
from fcnjax.lab.measures.pixels import RealPixels as RealPixels
from fcnjax.lab.measures.scores import ByArea as ByArea
from fcnjax.lab.measures.scores import Flips as Flips
from fcnjax.lab.measures.scores import Scores as Scores
from fcnjax.lab.measures.signals_as_images import AsImages as AsImages
from fcnjax.lab.measures.trained_run import Measured as Measured
from fcnjax.lab.measures.trained_run import TrainedRun as TrainedRun
from fcnjax.lab.measures.translation import MovedSideways as MovedSideways
from fcnjax.lab.measures.zero_padding import ZeroPadding as ZeroPadding
