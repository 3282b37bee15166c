"""After training: networks that stand alone, and what they predict."""

from fcnjax.inference.example_maps import ExampleMaps
from fcnjax.inference.given_data import evaluate
from fcnjax.inference.inputs import Inputs
from fcnjax.inference.prediction import Prediction
from fcnjax.inference.predictor import Predictor, Result, load

__all__ = ["ExampleMaps", "Inputs", "Prediction", "Predictor", "Result", "evaluate", "load"]
