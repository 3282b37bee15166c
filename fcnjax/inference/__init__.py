"""After training: networks that stand alone, and what they predict."""

from fcnjax.inference.given_data import evaluate
from fcnjax.inference.inputs import Inputs
from fcnjax.inference.prediction import Prediction
from fcnjax.inference.predictor import Predictor, load

__all__ = ["Inputs", "Prediction", "Predictor", "evaluate", "load"]
