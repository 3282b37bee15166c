"""State dicts within checkpoints of training, in the layouts of common training scripts."""

import argparse
import collections
import functools

import numpy as np
import pytest

from fcnjax.models.weights.state_dict_files import read_state_dict
from fcnjax.models.weights.unwrapping import Unwrapping

torch = pytest.importorskip("torch")


def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(collections.OrderedDict(conv1=torch.nn.Conv2d(2, 3, 1), bn1=torch.nn.BatchNorm2d(3)))


class Custom:
    """A class of a training script."""

    def __init__(self):
        self.weight = torch.ones(2)


def saved(path, contents):
    torch.save(contents, path)
    return path


def state(prefix="", shift=0.0):
    return {prefix + name: tensor + shift for name, tensor in module().state_dict().items()}


def checkpoint(**more):
    """A checkpoint as training scripts save it, with an optimizer that has steps and a scheduler."""
    network = module()
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    extra = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.5), "rng": torch.get_rng_state()}
    extra |= {"scheduler": scheduler.state_dict(), "own": Custom(), "hook": functools.partial(max, 1), "seen": {1, 2}}
    return {"epoch": 3, "optimizer": optimizer.state_dict(), "time": 1.5, "history": [1, 2], **extra, **more}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_the_state_dict_of_a_checkpoint_is_taken_and_the_rest_ignored(key, tmp_path):
    take = Unwrapping()
    read = read_state_dict(saved(tmp_path / "a.pt", checkpoint(**{key: state()})), take)
    assert read.keys() == state().keys()
    for name, tensor in state().items():
        np.testing.assert_array_equal(read[name], tensor.numpy())
    assert take.notes[0] == f"took {key!r}"
    assert take.notes[1].startswith("ignored args, best, epoch, history, hook, optimizer, own, rng and ")


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema"])
def test_averaged_weights_are_taken_when_asked_for(key, tmp_path):
    contents = checkpoint(model=state(), **{key: state("module.", shift=1.0)})
    path = saved(tmp_path / "a.pt", contents)
    for ema, shift, words in ((False, 0.0, f"took 'model', not the averaged weights {key!r}: --ema"), (True, 1.0, key)):
        take = Unwrapping(ema=ema)
        read = read_state_dict(path, take)
        np.testing.assert_array_equal(read["conv1.weight"], state(shift=shift)["conv1.weight"].numpy())
        assert words in take.notes[0]
    only = saved(tmp_path / "b.pt", {key: state(), "epoch": 1})
    assert read_state_dict(only, Unwrapping()).keys() == state().keys()
    with pytest.raises(ValueError, match=r"b\.pt: --ema: holds no averaged weights"):
        read_state_dict(saved(tmp_path / "b.pt", {"model": state()}), Unwrapping(ema=True))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "backbone.", "net.", "module._orig_mod.model."])
def test_prefixes_of_wrappers_are_taken_off(prefix, tmp_path):
    take = Unwrapping()
    read = read_state_dict(saved(tmp_path / "a.pt", {"state_dict": {"model": state(prefix)}}), take)
    assert read.keys() == state().keys()
    assert f"took the prefix {prefix.split('.')[0] + '.'!r} off the names" in take.notes


def test_a_prefix_that_nearly_every_name_has_leaves_the_others(tmp_path):
    names = {f"backbone.layer{index}.weight": torch.zeros(1) for index in range(20)}
    read = read_state_dict(saved(tmp_path / "a.pt", {**names, "fc.weight": torch.zeros(1)}), Unwrapping())
    assert "layer7.weight" in read
    assert "fc.weight" in read
    few = {"backbone.a": torch.zeros(1), "b": torch.zeros(1)}
    assert read_state_dict(saved(tmp_path / "b.pt", few), Unwrapping()).keys() == few.keys()
    with pytest.raises(ValueError, match="some names with and without 'backbone.'"):
        read_state_dict(saved(tmp_path / "c.pt", {**names, "layer3.weight": torch.zeros(1)}), Unwrapping())


def test_an_averaged_model_of_pytorch_is_read(tmp_path):
    average = torch.optim.swa_utils.AveragedModel(module())
    read = read_state_dict(saved(tmp_path / "a.pt", {"model": average.state_dict()}), Unwrapping())
    assert read.keys() == state().keys()


def test_parameters_are_tensors_and_the_declared_network_is_known(tmp_path):
    take = Unwrapping()
    parameters = dict(module().named_parameters())
    assert isinstance(parameters["conv1.weight"], torch.nn.Parameter)
    read = read_state_dict(saved(tmp_path / "a.pt", {"arch": "resnet18", "state_dict": parameters}), take)
    np.testing.assert_array_equal(read["conv1.weight"], parameters["conv1.weight"].detach().numpy())
    assert take.architecture == "resnet18"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"epoch": 3, "weights_of_mine": {"a": torch.zeros(1)}}, "no state dict under a known name, but 'epoch', 'wei"),
        ({}, "holds no state dict under a known name, but nothing"),
        (module(), "holds a torch.nn.modules.container.Sequential, not tensors by name; save model.state_dict"),
    ],
)
def test_files_without_a_state_dict_are_refused(contents, message, tmp_path):
    with pytest.raises(ValueError, match=f"a.pt: .*{message}"):
        read_state_dict(saved(tmp_path / "a.pt", contents), Unwrapping())


def test_a_dictionary_that_holds_itself_ends(tmp_path):
    contents = {"epoch": 1}
    contents["model"] = contents
    with pytest.raises(ValueError, match="holds no state dict"):
        read_state_dict(saved(tmp_path / "a.pt", contents), Unwrapping())
    contents["weight"] = torch.zeros(1)
    assert read_state_dict(saved(tmp_path / "a.pt", contents), Unwrapping()).keys() == {"weight"}
