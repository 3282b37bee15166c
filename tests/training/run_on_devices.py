"""Trains the made-up data on several devices or hosts, and saves what came out.

A program of its own, as the number of devices and hosts is fixed once JAX has started; `test_distribution.py` runs it.
"""

import argparse
import dataclasses
import os
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from synthetic_data import make_recipe, make_sources

from fcnjax.training import Trainer, train
from fcnjax.training.checkpoints import Checkpoints
from fcnjax.training.mesh import is_first_host, join_hosts
from fcnjax.training.run_folder import RunFolder

# 21 steps of 6 rows: no multiple of 4 or 8 devices, of which some have filler rows alone.
RECIPE = make_recipe(
    epochs=6,
    batch_size=6,
    checkpoint_every=0,
    model={"channels": [8, 32], "dropout": 0.2, "activation": "gelu", "norm": "batch"},
    optimizer={"name": "sgd", "learning_rate": 0.02},
    augment={"shift": 0.1, "flip": 0.5},
)


class Interruption(Exception):
    pass


def interrupt_after(steps: int):
    """The run ends once the checkpoint of a step is whole."""
    save = Checkpoints.save

    def last(self, step, state, accuracy):
        save(self, step, state, accuracy)
        if step == steps:
            self.wait()
            raise Interruption

    Checkpoints.save = last


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--devices", type=int, nargs="+", default=[1])
    parser.add_argument("--coordinator")
    parser.add_argument("--hosts", type=int)
    parser.add_argument("--host", type=int)
    parser.add_argument("--interrupt_after", type=int)
    parser.add_argument("--changes", default="{}")
    given = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", max(given.devices))
    if given.coordinator:
        join_hosts(given.coordinator, given.hosts, given.host)
    if given.interrupt_after:
        interrupt_after(given.interrupt_after)
    recipe = dataclasses.replace(RECIPE, **eval(given.changes))
    for devices in given.devices:
        used = [device for device in jax.devices() if device.id % max(given.devices) < devices or given.coordinator]
        trainer = Trainer(recipe, make_sources(), devices=used)
        folder = given.out / f"{devices}_devices"
        try:
            run = train(recipe, folder, trainer=trainer, progress=False)
        except Interruption:
            os._exit(0)  # as hosts end that are stopped: without a word to each other
        weights = jax.jit(lambda tree: tree, out_shardings=NamedSharding(trainer.mesh, PartitionSpec()))(
            (run.state.weights, run.state.statistics)
        )
        kernel = max(run.state.weights.values(), key=lambda array: array.size)
        shares = {"largest": kernel.size, "shard": kernel.addressable_shards[0].data.size}
        if is_first_host():
            arrays = {name: np.asarray(array) for tree in weights for name, array in tree.items()}
            losses = [row["loss"] for row in RunFolder.read_metrics(folder, "train")]
            examples = [row["examples"] for row in RunFolder.read_metrics(folder, "train")]
            counts = [(row["correct"], row["count"]) for row in RunFolder.read_metrics(folder, "validation")]
            counts.append((run.test.correct, run.test.count))
            np.savez(folder / "out.npz", losses=losses, examples=examples, counts=counts, **shares, **arrays)


if __name__ == "__main__":
    main()
