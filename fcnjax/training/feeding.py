"""Feed: reads the batches of a recipe, puts them on the devices, and records unreadable examples.

Axes: B rows of a batch. With several hosts, each reads its own rows; the arrays on the devices hold the rows of all
hosts.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from fcnjax.data import Batch, EpochPlan, MixedPlan, Source, host_bytes, load_batches, prefetch_to_device
from fcnjax.padded import Padded
from fcnjax.training.compile.mesh import gather_texts, place_rows, sum_over_hosts
from fcnjax.training.settings.recipe import Recipe
from fcnjax.training.step.step import Targets

DEPTH = 1  # batches in transfer to the device while one is computed


class Feed:
    """Batches of the splits of a recipe.

    Args:
        recipe: provides the settings of data and loader.
        sources: the splits by name.
        mesh: the devices that share the rows of each batch.

    Attributes:
        unreadable: name and reason of each example that this host could not decode so far.
    """

    def __init__(self, recipe: Recipe, sources: Mapping[str, Source], mesh: Mesh):
        self._recipe, self._sources, self._mesh = recipe, sources, mesh
        self.unreadable: dict[str, str] = {}
        for source in sources.values():
            self.unreadable |= source.unreadable

    def batches(
        self, split: str | Source, plan: Any, start: int, stop: int, **options: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yields the steps of a plan from `start` to before `stop`, each with its batch or batches.

        The transfer of their values to the devices has started.

        Args:
            split: name of the split that is planned, or other examples.
            plan: an `EpochPlan`, `MixedPlan` or `EvaluationPlan`.
            start: first step.
            stop: step to stop before.
            options: further arguments of `load_batches`.
        """
        data, loader = self._recipe.data, self._recipe.loader
        pairs = load_batches(
            self._sources[split] if isinstance(split, str) else split,
            plan,
            mean=data.mean,
            std=data.std,
            start_step=start,
            stop_step=stop,
            on_error=data.on_error,
            threads=loader.threads,
            workers=loader.workers if split == "train" else 0,  # each short evaluation pass would restart them
            prefetch=loader.prefetch,
            host=jax.process_index(),
            hosts=jax.process_count(),
            rows_multiple_of=self._mesh.size,
            **options,
        )
        for step, batch in prefetch_to_device(pairs, self._transferred, DEPTH):
            for part in batches_of(batch):
                self.unreadable |= dict(part.unreadable)
            yield step, batch

    def inputs(self, batch: Batch) -> tuple[Padded, Targets]:
        """Returns the inputs of a step from a batch, on the devices: the rows of all hosts."""
        values, sizes, labels, ids = (place_rows(self._mesh, array) for array in batch[:4])
        weights = None if batch.weights is None else place_rows(self._mesh, batch.weights)
        return Padded(values, sizes), Targets(labels, ids, weights)

    def missing(self, batch: Batch | Sequence[Batch]) -> int:
        """Returns the number of examples of a step that could not be decoded on any host; all hosts must call it."""
        if self._recipe.data.on_error == "refuse":  # no example is missing, so hosts need not communicate
            return 0
        return sum_over_hosts(sum(len(part.unreadable) for part in batches_of(batch)))

    def all_unreadable(self) -> dict[str, str]:
        """Returns name and reason of each example that any host could not decode, sorted; all hosts must call it."""
        if self._recipe.data.on_error == "refuse":
            return dict(sorted(self.unreadable.items()))
        texts = gather_texts(json.dumps(self.unreadable))
        return dict(sorted((name, reason) for text in texts for name, reason in json.loads(text).items()))

    def host_bytes(self, plan: EpochPlan | MixedPlan) -> int:
        """Returns an upper bound on the bytes of host memory that training batches take at once."""
        loader = self._recipe.loader
        read_ahead = {"threads": loader.threads, "workers": loader.workers, "prefetch": loader.prefetch + DEPTH}
        shares = {"hosts": jax.process_count(), "rows_multiple_of": self._mesh.size}
        return host_bytes(plan, self._sources["train"].channels, **read_ahead, **shares)

    def _transferred(self, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        """Returns a step and its batches, with the transfer of their values to the devices started."""
        step, batch = pair
        parts = tuple(part._replace(values=place_rows(self._mesh, part.values)) for part in batches_of(batch))
        return step, parts[0] if isinstance(batch, Batch) else parts


def batches_of(batch: Batch | Sequence[Batch]) -> Sequence[Batch]:
    """Returns the batches of a step, which has one or several of them."""
    return (batch,) if isinstance(batch, Batch) else batch


def count_examples(batch: Batch | Sequence[Batch]) -> int:
    """Returns the number of real examples in the batch or batches of a step, on this host."""
    return sum(part.examples for part in batches_of(batch))
