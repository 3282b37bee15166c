"""Random streams: the numbers that keep apart whatever is random for one example.

A layer or an augmentation draws from `jax.random.fold_in(key, stream)`, where `key` is the example's own. Two uses of
one number would draw the same values. The random layers of a backbone count from 0 in the order of its blocks.
"""

HEAD_DROPOUT = 1_000_000
SPECTROGRAM_MASKS = 1_500_000
AUGMENTATION = 2_000_000  # the affine map; the other augmentations count from the next number
MIXUP = 2_500_000  # the weight; the next number draws the partner
CROP = 0x63726F70  # "crop" in ASCII: crops are hashed on the host, of this, the seed, the epoch and the id
