"""Batch norm in training on several devices is PyTorch's batch norm over the concatenated valid positions.

The devices hold different numbers of valid positions, some of them 0, so the mean of the devices' means would be wrong.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("torch")
PROGRAM = pathlib.Path(__file__).with_name("batch_norm_on_devices.py")
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}


def test_batch_statistics_are_global_on_every_number_of_devices():
    paths = [str(PROGRAM.parents[1]), str(PROGRAM.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run([sys.executable, PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    compared = 0
    for dtype, cases in json.loads(ran.stdout).items():
        for case, by_devices in cases.items():
            assert by_devices.keys() == {"1", "2", "4"}
            for devices, errors in by_devices.items():
                for what, error in errors.items():
                    message = f"{what} of {case}, {dtype}, {devices} devices: relative error {error:.1e}"
                    assert error <= TOLERANCE[dtype], message
                    compared += 1
    assert compared == 2 * 6 * 3 * 6  # dtypes, cases, numbers of devices, quantities
