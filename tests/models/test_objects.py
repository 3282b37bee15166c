"""Networks as Python objects: pickled, copied, shown and tabulated by flax, as any NNX module."""

import copy
import io
import pickle
from contextlib import redirect_stdout

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_models import NETWORKS, make

from fcnjax import Padded, layers, models
from fcnjax.heads import FlattenDenseHead, Head
from fcnjax.layers.layer import Layer, Module, parameter_count
from fcnjax.layers.pointwise import ACTIVATIONS, relu_of_sum

ONE_EACH = {name: label for label, (name, _) in reversed(NETWORKS.items())}  # a small network of every registered name


def network(name: str) -> models.Classifier:
    _, options = NETWORKS[ONE_EACH[name]]
    return make(name, **options)


def batch_for(model) -> Padded:
    return Padded.stack([np.ones((*np.maximum(model.min_size, 5), model.in_channels), np.float32)] * 2)


def assert_equal(got: nnx.Module, wanted: nnx.Module):
    """The same layers with the same functions, so that `jax.jit` compiles nothing again, and the same weights."""
    (graph, state), (wanted_graph, wanted_state) = nnx.split(got), nnx.split(wanted)
    assert graph == wanted_graph
    assert hash(graph) == hash(wanted_graph)
    jax.tree.map(np.testing.assert_array_equal, state, wanted_state)


@pytest.mark.parametrize("name", models.MODELS)
def test_a_network_is_pickled_and_copied(name):
    model = network(name)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), nnx.clone(model)):
        assert other is not model
        assert_equal(other, model)


@pytest.mark.parametrize("function", [*ACTIVATIONS.values(), relu_of_sum, jax.nn.sigmoid, jnp.square])
def test_a_layer_keeps_its_function(function):
    gate = layers.SqueezeExcite(4, 2, activation=function, gate=function, rngs=nnx.Rngs(0))
    for layer in (layers.Activation(function), gate):
        for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
            assert_equal(other, layer)
    assert pickle.loads(pickle.dumps(layers.Activation(function))).function is function


def test_a_function_without_a_name_is_copied_but_not_pickled():
    layer = layers.Activation(lambda values: values)
    assert copy.deepcopy(layer).function is layer.function
    with pytest.raises((pickle.PicklingError, AttributeError), match="<lambda>"):
        pickle.dumps(layer)


@pytest.mark.parametrize("name", models.MODELS)
def test_a_network_is_displayed(name):
    shown = io.StringIO()
    with redirect_stdout(shown):
        nnx.display(network(name))
    assert shown.getvalue().startswith("Classifier(")


def tabulated(model: models.Classifier, **arguments) -> list[list[str]]:
    """Returns the rows of flax's table of a network."""
    table = nnx.tabulate(model, batch_for(model), console_kwargs={"width": 300, "force_terminal": False}, **arguments)
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]


@pytest.mark.parametrize("name", models.MODELS)
def test_a_network_is_tabulated_and_works_as_before(name):
    model, tables = network(name), []
    before = {kind: dict(vars(kind)) for kind in subclasses(Module)}
    jax.eval_shape(lambda: tables.append(tabulated(model)))  # traces what flax would also compile
    [table] = tables
    rows = {row[0]: row[1] for row in table if row[1]}
    assert rows[""] == "Classifier"
    for path, module in nnx.iter_modules(model):
        if isinstance(module, Layer | Head | FlattenDenseHead):
            assert rows["/".join(map(str, path))] == type(module).__name__
    assert set(rows.values()) <= {type(module).__name__ for _, module in nnx.iter_modules(model)}
    total = next(row for row in table if "Total" in row)
    assert any(cell.startswith(f"{parameter_count(model):,} ") for cell in total)
    for kind, names in before.items():
        for attribute, value in names.items():
            if not attribute.startswith("_"):
                assert vars(kind)[attribute] is value, f"{kind.__name__}.{attribute}"


def test_a_table_is_made_by_running_the_network():
    model = network("fcn")
    before = model(batch_for(model))
    assert len(tabulated(model, depth=1)) > 3
    np.testing.assert_array_equal(model(batch_for(model)), before)
    assert model.trace((9, 9))[0].size == (9, 9)


def subclasses(kind: type) -> list[type]:
    return [kind, *(each for child in kind.__subclasses__() for each in subclasses(child))]
