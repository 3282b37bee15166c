"""Trains on the synthetic data with several devices or hosts, and saves the results.

It is a separate program, because the number of devices and hosts is fixed once JAX has started; `test_distribution.py`
runs it.
"""

import argparse
import dataclasses
import os
import signal
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from synthetic_data import make_recipe, make_sources

from fcnjax.training import Recipe, Trainer, train
from fcnjax.training.compile.mesh import gather_texts, is_first_host, join_hosts, sum_over_hosts
from fcnjax.training.run.checkpoints import Checkpoints
from fcnjax.training.run.run_folder import RunFolder

# 21 steps of 6 rows, which is not a multiple of 4 or 8 devices: some devices have only filler rows.
RECIPE = make_recipe(
    epochs=6,
    batch_size=6,
    max_buckets=1,  # every process compiles every program itself
    checkpoint_every=0,
    model={"channels": [8, 32], "dropout": 0.2, "activation": "gelu", "norm": "batch"},
    optimizer={"name": "sgd", "learning_rate": 0.02},
    augment={"shift": 0.1, "flip": 0.5},
)


VARIANTS = {
    "bucket": {},
    "mixed": {"batching": "mixed", "max_buckets": 2},
    "sharded": {"shard_weights": True},
    "checkpoints": {"checkpoint_steps": 10},
}


def die_after(steps: int):
    """The last host ends once the checkpoint of a step is complete."""
    save = Checkpoints.save

    def last(self, step, state, *given):
        save(self, step, state, *given)
        if step == steps:
            self.wait()
            if jax.process_index() == jax.process_count() - 1:
                os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = last


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--devices", type=int, nargs="+", default=[1])
    parser.add_argument("--coordinator")
    parser.add_argument("--hosts", type=int)
    parser.add_argument("--host", type=int)
    parser.add_argument("--die_after", type=int)
    parser.add_argument("--variants", nargs="+", default=["bucket"], choices=VARIANTS)
    given = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", max(given.devices))
    if given.coordinator:
        join_hosts(given.coordinator, given.hosts, given.host, heartbeat_seconds=10)
        check_gathering(given.hosts, given.host)
    if given.die_after:
        die_after(given.die_after)
    for variant in given.variants:
        for devices in given.devices:
            recipe = dataclasses.replace(RECIPE, **VARIANTS[variant])
            run_on(recipe, devices, given.out / f"{variant}_{devices}", all_hosts=bool(given.coordinator))


def check_gathering(hosts: int, host: int):
    """Raises RuntimeError unless what all hosts say reaches each of them."""
    total, texts = sum_over_hosts(host + 1), gather_texts("é" * host)
    if (total, texts) != (hosts * (hosts + 1) // 2, ["é" * each for each in range(hosts)]):
        raise RuntimeError(f"{hosts} hosts gathered {total} and {texts}")


def run_on(recipe: Recipe, devices: int, folder: Path, all_hosts: bool = False):
    sources = make_sources()
    if recipe.batching == "mixed":  # examples of this variant have weights
        sources["train"].weights = np.linspace(0.5, 2, len(sources["train"]), dtype=np.float32)
    trainer = Trainer(recipe, sources, devices=None if all_hosts else jax.devices()[:devices])
    run = train(recipe, folder, trainer=trainer, progress=False)
    everywhere = NamedSharding(trainer.mesh, PartitionSpec())
    gathered = jax.jit(lambda tree: tree, out_shardings=everywhere)((run.state.weights, run.state.statistics))
    kernel = max(run.state.weights.values(), key=lambda array: array.size)
    shares = {"largest": kernel.size, "shard": kernel.addressable_shards[0].data.size}
    if is_first_host():
        arrays = {name: np.asarray(array) for tree in gathered for name, array in tree.items()}
        rows = RunFolder.read_metrics(folder, "train")
        steps = {name: [row[key] for row in rows] for name, key in (("losses", "loss"), ("examples", "examples"))}
        counts = [(row["correct"], row["count"]) for row in RunFolder.read_metrics(folder, "validation")]
        counts.append((run.test.correct, run.test.count))
        np.savez(folder / "out.npz", counts=counts, **steps, **shares, **arrays)


if __name__ == "__main__":
    main()
