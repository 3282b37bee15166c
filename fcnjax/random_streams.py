"""Random streams: the numbers that make the random draws for one example independent of each other.

A layer or an augmentation draws from `jax.random.fold_in(key, stream)`, where `key` is the example's key. Two uses of
one stream would draw the same values. The random layers of a backbone count from 0 in the order of its blocks.
"""

HEAD_DROPOUT = 1_000_000
SPECTROGRAM_MASKS = 1_500_000
AUGMENTATION = 2_000_000  # the affine map; the other augmentations use the numbers that follow
MIXUP = 2_500_000  # the weight; the next number is for the partner
CROP = 0x63726F70  # "crop" in ASCII; hashed on the host with the seed, the epoch and the example's id
