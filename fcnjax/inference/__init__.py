"""After training: networks that stand alone, and what they predict."""

from fcnjax.inference.inputs import Inputs, check_array
from fcnjax.inference.prediction import Prediction
from fcnjax.inference.predictor import Predictor, load

__all__ = ["Inputs", "Prediction", "Predictor", "check_array", "load"]
