"""Training: recipes, the functional step, the one loop, evaluation, and run folders."""

from fcnjax.training.build import abstract_model as abstract_model
from fcnjax.training.build import load_sources as load_sources
from fcnjax.training.build import make_buckets as make_buckets
from fcnjax.training.build import make_model as make_model
from fcnjax.training.compile import *
from fcnjax.training.evaluation import *
from fcnjax.training.reestimation import reestimated_statistics as reestimated_statistics
from fcnjax.training.run import *
from fcnjax.training.settings import *
from fcnjax.training.standalone import export_weights as export_weights
from fcnjax.training.standalone import import_weights as import_weights
from fcnjax.training.step import *
from fcnjax.training.trainer import Trainer as Trainer
