"""The model card: what a trained network is for, in Markdown, made from the description in its `config.json`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fcnjax.naming import printable, shortened
from fcnjax.training.evaluation.metrics import Metrics

SHOWN = 12  # classes that the card lists
KINDS = {1: "signals", 2: "images", 3: "volumes"}

TEMPLATE = """---
library_name: fcnjax
tags: [{task}, jax, flax]
---

# {network} for {kind}: {data}

A convolutional classifier of {kind} of any size, trained with [fcnjax](https://pypi.org/project/fcnjax/) {version}. It
takes each example at its own size; the answer does not depend on how an example is padded or batched.

```python
import fcnjax

predictor = fcnjax.load("path of this folder")
print(predictor("{example}").top(3))
```

## Classes

{classes}

## Inputs

{inputs}

## Data and results

Trained on {train:,} examples of `{data}`. {result}
{sizes}
## Intended use

Examples of the kind that it was trained on, of the classes above: it names one of them for any input. It was tested on
the data named above alone; test it on your own (`fcnjax evaluate`) before you rely on it.
"""

IMPORTED = """---
library_name: fcnjax
tags: [image-classification, jax, flax]
---

# {network}: imported weights

The weights of `{file}` (SHA-256 `{sha256}`){hub}, in the layout of [fcnjax](https://pypi.org/project/fcnjax/)
{version}. They were trained elsewhere: the description that came with them says on what data, how accurate they are and
what they may be used for.{license}

```python
{use}
```

## Classes

{classes}

## Inputs

{inputs}

## Import

{notes}

Nothing was tested here beyond what this list says; test the model on your own data before you rely on it.
"""
PREDICT = """import fcnjax

predictor = fcnjax.load("path of this folder")
print(predictor("photo.jpg").top(3))"""
TUNE = """from fcnjax.training import Recipe, train

train(Recipe.from_config({"init_from": "path of this folder", ...}), "path of the run")"""


def imported_card(about: Mapping[str, Any]) -> str:
    """Returns the model card of imported weights.

    Args:
        about: the content of `config.json`.
    """
    imported, classes = about["provenance"]["imported"], about["classes"]
    hub = imported["hub"] or {}
    return IMPORTED.format(
        network=about["model"]["name"],
        file=printable(imported["file"]),
        sha256=imported["sha256"],
        hub=f", described by their hub as `{printable(hub['architecture'])}`" if hub else "",
        version=about["provenance"]["versions"]["fcnjax"],
        license=f" License: {printable(hub['license'])}." if hub.get("license") else "",
        use=PREDICT if classes else TUNE,
        classes=_classes(classes) if classes else "None: the weights have no head.",
        inputs=_inputs(about, KINDS[about["preprocessing"]["axes"]]),
        notes="\n".join(f"- {printable(note)}" for note in imported["notes"]),
    )


def model_card(about: Mapping[str, Any], metrics: Metrics | None) -> str:
    """Returns the model card.

    Args:
        about: the content of `config.json`.
        metrics: figures of the test split; None leaves them out.
    """
    before, source, classes = about["preprocessing"], about["provenance"], about["classes"]
    test, kind = source["test"], KINDS[before["axes"]]
    result = "It was not tested."
    if test is not None:
        result = f"Accuracy on {test['count']:,} test examples: {test['accuracy']:.2%}."
    return TEMPLATE.format(
        task={1: "audio-classification", 2: "image-classification"}.get(before["axes"], "other"),
        network=about["model"]["name"],
        kind=kind,
        data=printable(source["data"]),
        version=source["versions"]["fcnjax"],
        example={1: "recording.wav", 2: "photo.jpg"}.get(before["axes"], "volume"),
        classes=_classes(classes),
        inputs=_inputs(about, kind),
        train=source["examples"]["train"],
        result=result,
        sizes=_sizes(metrics) if metrics is not None else "",
    )


def _classes(classes: Sequence[str]) -> str:
    names = ", ".join(f"`{printable(shortened(name, 60))}`" for name in classes[:SHOWN])
    more = f" and {len(classes) - SHOWN} more (all in `config.json`)" if len(classes) > SHOWN else ""
    return f"{len(classes)}: {names}{more}."


def _inputs(about: Mapping[str, Any], kind: str) -> str:
    before = about["preprocessing"]
    channels = f"{before['channels']} channel{'s' if before['channels'] != 1 else ''}"
    rate = f" at {before['sample_rate']:,} Hz" if before["sample_rate"] else ""
    scaled = "uint8 values are divided by 255" if before["axes"] == 2 else "values as they are"
    changed = {name: value for name, value in about["size"].items() if value not in (None, 1, "refuse")}
    policy = f"resized by {json.dumps(changed)}" if changed else "at their own size"
    return (
        f"{kind.capitalize()} of {channels}{rate}, {policy}. Then {scaled}, {before['mean']} is subtracted, and the "
        f"result is divided by {before['std']}."
    )


def _sizes(metrics: Metrics) -> str:
    rows = [
        f"| {group.smallest:,} to {group.largest:,} | {group.correct / group.examples:.1%} | {group.examples:,} |"
        for group in metrics.by_size()
    ]
    return "\n".join(["", "| positions | accuracy | examples |", "|---|---|---|", *rows, ""])
