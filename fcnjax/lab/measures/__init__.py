"""Measures: functions from a trained run to what is measured of it."""

from fcnjax.lab.measures.one_function import SameFunction as SameFunction
from fcnjax.lab.measures.other_sizes import AtSizes as AtSizes
from fcnjax.lab.measures.positions import PositionProbe as PositionProbe
from fcnjax.lab.measures.positions import RolledFeatures as RolledFeatures
from fcnjax.lab.measures.positions import RolledScores as RolledScores
from fcnjax.lab.measures.receptive_fields import ReceptiveFields as ReceptiveFields
from fcnjax.lab.measures.scores import ByArea as ByArea
from fcnjax.lab.measures.scores import Flips as Flips
from fcnjax.lab.measures.scores import Scores as Scores
from fcnjax.lab.measures.trained_run import Measured as Measured
from fcnjax.lab.measures.trained_run import TrainedRun as TrainedRun
from fcnjax.lab.measures.zero_padding import ZeroPadding as ZeroPadding
