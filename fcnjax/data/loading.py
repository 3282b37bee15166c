"""Data sets by name: the one place that knows which source stands behind a name."""

import os

from fcnjax.data.tfds_source import TfdsSource, prepare
from fcnjax.naming import unknown_name


def load_source(name: str, split: str, data_dir: str | os.PathLike[str] | None = None) -> TfdsSource:
    """A split of a data set by name; prepares the data set first where that has not been done.

    Args:
      name: "any_size_digits" or "any_size_digits/fixed_28x28"; the part behind the slash names the variant.
      split: "train", "validation" or "test", with TFDS slices ("train[:100]").
      data_dir: Folder of prepared data sets; None means TFDS's own (TFDS_DATA_DIR, else ~/tensorflow_datasets).

    Returns:
      The source. Several processes may ask for the same data set at once.

    Raises:
      ValueError: No such data set, variant or split; the message lists what there is. Or the split is empty.
      OSError: The data set cannot be written to `data_dir`.
    """
    from fcnjax.data.any_size_digits import AnySizeDigits  # here: TFDS takes most of a second to import

    builders = {builder.name: builder for builder in (AnySizeDigits,)}
    variants = {
        known: (builder, config.name)
        for base, builder in builders.items()
        for config in builder.BUILDER_CONFIGS
        for known in ([base] if config is builder.BUILDER_CONFIGS[0] else []) + [f"{base}/{config.name}"]
    }
    if name not in variants:
        raise ValueError(unknown_name("data set", name, variants))
    builder_class, config_name = variants[name]
    try:
        prepared = prepare(builder_class, config_name, data_dir)
    except OSError as error:
        where = "TFDS_DATA_DIR or ~/tensorflow_datasets" if data_dir is None else data_dir
        raise OSError(
            f"data_dir={where}: {name} cannot be prepared there ({error}); name a folder to write to."
        ) from None
    if split.split("[")[0] not in prepared.info.splits:
        raise ValueError(unknown_name(f"split of {name}:", split, prepared.info.splits))
    try:
        count = prepared.info.splits[split].num_examples
    except (ValueError, IndexError) as error:
        raise ValueError(f"split {split!r} of {name}: {str(error).splitlines()[0]}") from None
    if not count:
        raise ValueError(f"split {split!r} of {name}: holds no example; name a split that does, such as 'train[:100]'.")
    return TfdsSource(prepared, split)
