import zlib

import numpy as np
import pytest
from cubic_resampling import cubic_resampled

from fcnjax.data.tfds.any_size_digits import digit_size, render

# Frozen: a change of one of these makes another data set and requires a new VERSION of the builder.
CLASS_COUNTS = {
    "train": [118, 122, 118, 121, 121, 121, 121, 119, 116, 120],
    "validation": [20, 20, 20, 21, 20, 20, 20, 20, 19, 20],
    "test": [40, 40, 39, 41, 40, 41, 40, 40, 39, 40],
}
SIZE_CHECKSUMS = {"train": 1847021482, "validation": 1487821294, "test": 2407300528}
ID_CHECKSUMS = {"train": 211206313, "validation": 3924779681, "test": 4107447806}


def checksum(table) -> int:
    return zlib.crc32(np.asarray(table, "<i4").tobytes())


def ids(source) -> list[int]:
    return [source[index].id for index in range(len(source))]


def test_every_digit_is_in_exactly_one_split(digits):
    assert sorted(number for source in digits.values() for number in ids(source)) == list(range(1797))


@pytest.mark.parametrize("split", CLASS_COUNTS)
def test_splits_are_frozen(digits, split):
    source = digits[split]
    labels = [source[index].label for index in range(len(source))]
    assert np.bincount(labels).tolist() == CLASS_COUNTS[split]
    assert checksum(ids(source)) == ID_CHECKSUMS[split]
    assert checksum(source.sizes) == SIZE_CHECKSUMS[split]


def test_size_is_a_pure_function_of_the_digit(digits):
    for source in digits.values():
        assert [digit_size(number) for number in ids(source)] == [tuple(size) for size in source.sizes.tolist()]


def test_sizes_and_aspects_stay_within_bounds():
    sizes = np.array([digit_size(index) for index in range(1797)])
    assert sizes.min(axis=0).tolist() == [16, 16]
    assert sizes.max(axis=0).tolist() == [40, 40]
    assert (sizes.max(axis=1) <= 2 * sizes.min(axis=1)).all()


def test_another_seed_gives_other_sizes():
    assert [digit_size(index, seed=1) for index in range(20)] != [digit_size(index) for index in range(20)]


@pytest.mark.parametrize("split", CLASS_COUNTS)
def test_fixed_variant_has_the_same_digits(digits, fixed_digits, split):
    assert ids(fixed_digits[split]) == ids(digits[split])
    assert (fixed_digits[split].sizes == 28).all()
    labels = [source[0].label for source in (fixed_digits[split], digits[split])]
    assert labels[0] == labels[1]


def test_images_are_the_scans():
    """Averaging a rendering back to 8 x 8 gives nearly the scan that scikit-learn ships."""
    from sklearn.datasets import load_digits

    scan = load_digits(return_X_y=True)[0][7].reshape(8, 8)
    image = render(scan, (40, 16))
    assert image.shape == (40, 16, 1)
    assert image.dtype == np.uint8
    back = image[..., 0].reshape(8, 5, 8, 2).mean(axis=(1, 3)) / 255 * 16
    assert np.corrcoef(back.ravel(), scan.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("size", [(40, 16), (17, 30)])
def test_images_are_the_scans_by_cubic_interpolation(size):
    scan = np.random.default_rng(0).integers(0, 17, (8, 8)).astype(float)
    expected = np.clip(cubic_resampled(scan * 255 / 16, size), 0, 255)
    np.testing.assert_allclose(render(scan, size)[..., 0], expected, atol=0.51)


def test_image_uses_the_full_range(digits):
    values = np.concatenate([digits["test"][index].values.ravel() for index in range(100)])
    assert (values.min(), values.max()) == (0, 255)
