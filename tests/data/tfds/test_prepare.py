import importlib.util

import pytest

from fcnjax.data import load_source, prepare_by_name
from fcnjax.data.tfds.prepare import cannot_prepare, catalog_names


def test_preparing_the_catalog_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"mnist: .* needs TensorFlow; install the extra catalog: pip install"):
        prepare_by_name("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_our_own_data_is_prepared_once(tmp_path):
    folder, prepared_now = prepare_by_name("any_size_digits", tmp_path)
    assert prepared_now
    assert prepare_by_name("any_size_digits", tmp_path) == (folder, False)
    assert len(load_source("any_size_digits", "test", tmp_path)) == 400


def test_unknown_names_are_refused_first(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'mnst': did you mean 'mnist'"):
        prepare_by_name("mnst", tmp_path)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionError("HTTPConnectionPool(host='x'): Max retries exceeded\nwith url: y"), "cannot be downloaded"),
        (
            AssertionError("\n  Manual directory /x does not exist or is empty.\n  Create it"),
            "Manual directory /x does",
        ),
        (PermissionError(13, "Permission denied"), "name a folder to write to"),
    ],
)
def test_a_failure_is_one_sentence(error, says):
    message = str(cannot_prepare("mnist", "/data", error))
    assert says in message
    assert message.startswith("data_dir=/data: mnist cannot be prepared there")
    assert "\n" not in message


def test_the_catalog_is_known_without_importing_it():
    wanted = {"mnist", "caltech101", "imagenette", "speech_commands", "spoken_digit", "gtzan", "food101", "dtd"}
    assert wanted <= catalog_names()
