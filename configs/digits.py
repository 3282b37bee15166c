"""Digits of any size: the thread's network on scanned digits of 16 to 40 pixels, height and width apart.

`fcnjax train --config=configs/digits.py --workdir=runs/digits`; with another network of `fcnjax.models.MODELS` by, for
example, `--config=configs/digits.py:resnet_cifar`.
"""

from ml_collections import ConfigDict, config_dict


def get_config(network: str = "fcn") -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.epochs = 7
    config.batch_size = 16  # rows of a step
    config.max_buckets = 2  # rectangles, each compiled once
    config.validate_every = 1  # epochs; 0: after the last one only
    config.checkpoint_every = 1  # epochs; 0: final weights only

    config.data = ConfigDict()
    config.data.name = "any_size_digits"  # or any_size_digits/fixed_28x28
    config.data.train_split = "train"
    config.data.validation_split = "validation"
    config.data.test_split = "test"
    config.data.data_dir = config_dict.placeholder(str)  # None: where TFDS keeps its data sets
    config.data.mean = 0.0  # of pixels in [0, 1]
    config.data.std = 1.0

    config.model = ConfigDict()
    config.model.name = network
    config.model.channels = config_dict.placeholder(tuple)  # of each block of the fcn
    config.model.norm = config_dict.placeholder(str)  # of the fcn: batch, group, layer, none
    config.model.activation = config_dict.placeholder(str)  # of the fcn
    config.model.dropout = config_dict.placeholder(float)  # rate, whole channels
    config.model.depth = config_dict.placeholder(int)  # layers of resnet_cifar: 6 n + 2
    config.model.width = config_dict.placeholder(int)  # channels of the first stage, where a network has stages
    if network == "fcn":
        config.model.channels = (32, 64, 128)  # each block halves the size
        config.model.norm = "batch"
        config.model.activation = "gelu"  # smooth, so that rounding cannot fork two runs at the kink of a ReLU
    config.model.dtype = config_dict.placeholder(str)  # bfloat16, float32; None: that of the data

    config.head = ConfigDict()
    config.head.hidden = ()  # widths of hidden layers
    config.head.activation = "relu"
    config.head.norm = config_dict.placeholder(str)  # before all other layers: batch, group, layer
    config.head.dropout = config_dict.placeholder(float)  # rate, whole channels
    config.head.score_activation = config_dict.placeholder(str)  # after the classifier
    config.head.kernel = 1  # taps of the first linear layer
    config.head.flatten = config_dict.placeholder(tuple)  # (3, 3): a dense layer for features of that extent alone
    config.head.log_softmax = False
    config.head.pool = "mean"  # max, top_k, logsumexp, gem, noisy_or, linear_softmax;
    # with weights of their own: attention, auto, logsumexp_learnable
    config.head.pool_r = config_dict.placeholder(float)  # sharpness of logsumexp, initial one of logsumexp_learnable
    config.head.pool_p = config_dict.placeholder(float)  # exponent of gem
    config.head.pool_heads = config_dict.placeholder(int)  # of attention; divides the channels
    config.head.pool_k = config_dict.placeholder(int)  # values of top_k
    config.head.pool_at = config_dict.placeholder(int)  # 0: GAP-first; None: after all layers, conv-first

    config.augment = ConfigDict()  # training only; each bounds a uniform draw, keyed by example and epoch
    config.augment.rotation = 6.0  # degrees
    config.augment.scale = 0.08  # of the logarithm of the zoom, height and width apart
    config.augment.shear = 0.05
    config.augment.shift = 0.05  # of the extent

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-3  # peak
    config.optimizer.schedule = "cosine"  # or constant
    config.optimizer.warmup = 0.1  # share of the steps
    config.optimizer.weight_decay = 0.3  # on kernels only
    config.optimizer.momentum = 0.9  # of sgd
    config.optimizer.epsilon = 1e-8  # of adamw
    config.optimizer.clip_norm = config_dict.placeholder(float)
    return config
