"""Configs of model hubs, and which architectures they may name."""

import json

import pytest

from fcnjax.models.weights.hub_config import SAME_NAMES, doubt, obstacle, read_hub_config
from fcnjax.models.weights.torch_names import RULES


def written(path, **about):
    path.write_text(json.dumps(about))
    return path


def test_a_config_of_timm_is_read(tmp_path):
    pretrained = {"tag": "a1_in1k", "mean": [0.5, 0.5, 0.5], "std": [0.1, 0.2, 0.3], "license": "apache-2.0"}
    about = {
        "architecture": "resnet18",
        "pretrained_cfg": pretrained,
        "global_pool": "avg",
        "model_args": {"in_chans": 3},
    }
    hub = read_hub_config(written(tmp_path / "config.json", **about, label_names=["cat", "dog"]))
    assert (hub.architecture, hub.pool, hub.license) == ("resnet18", "avg", "apache-2.0")
    assert (hub.mean, hub.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    assert hub.labels == {0: "cat", 1: "dog"}
    assert obstacle("resnet18", hub.architecture, hub.arguments, hub.pool) == ""


def test_a_config_of_transformers_names_a_network_and_labels(tmp_path):
    about = {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "id2label": {"1": "b", "0": "a"},
    }
    hub = read_hub_config(written(tmp_path / "config.json", **about))
    assert hub.labels == {0: "a", 1: "b"}
    assert "'ResNetForImageClassification': is not known to compute what resnet50 does" in obstacle(
        "resnet50", hub.architecture
    )


@pytest.mark.parametrize("arch", RULES)
def test_only_the_network_itself_has_no_obstacle(arch):
    assert obstacle(arch, arch) == obstacle(arch, f"{arch}.some_tag") == ""
    for other, difference in SAME_NAMES.get(arch, {}).items():
        assert obstacle(arch, f"{other}.tag") == f"architecture {other!r}: has the names of {arch}, but {difference}"
        assert other in doubt(arch)
    for other in {*RULES, f"{arch}d", f"se{arch}"} - {arch}:
        assert "is not known to compute" in obstacle(arch, other)


def test_arguments_that_change_the_network_are_obstacles():
    assert obstacle("resnet50", "gluon_resnet50_v1b") == ""
    assert "model_args={'output_stride': 8}: may change" in obstacle("resnet50", "resnet50", {"output_stride": 8})
    assert obstacle("resnet50", "resnet50", {"num_classes": 4, "in_chans": 1}) == ""
    assert "global_pool='max': is not the mean" in obstacle("resnet50", "resnet50", pool="max")


def test_other_files_are_refused_or_say_nothing(tmp_path):
    assert read_hub_config(written(tmp_path / "config.json", version=3)) is None
    with pytest.raises(ValueError, match="describes a model of fcnjax; use its folder as it is"):
        read_hub_config(written(tmp_path / "config.json", library_name="fcnjax"))
    with pytest.raises(ValueError, match="is not the config of a model hub"):
        read_hub_config(written(tmp_path / "config.json", architecture="resnet18", pretrained_cfg={"mean": ["a"]}))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="must hold JSON"):
        read_hub_config(tmp_path / "config.json")
