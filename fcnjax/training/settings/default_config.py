"""The config that every file of `configs/` starts from: all fields, each with its unit or limit, and three bases.

It is part of the package, so that a config file can import it wherever that file lies. Numbers of training (epochs,
rates, widths) are starting points; what a config measured, it says.
"""

from typing import Any

from ml_collections import ConfigDict, config_dict


def default_config(network: str = "fcn") -> Any:
    """Returns a `ConfigDict` with all fields, for small gray images; `config.data.name` is for the caller to set.

    Args:
        network: A key of `fcnjax.models.MODELS`.
    """
    config = ConfigDict()
    config.seed = 0
    config.epochs = 10
    config.batching = "bucket"  # a step is rows of one rectangle; or mixed: examples of all, whatever the rectangles
    config.batch_size = 64  # examples of a step at most
    config.pixel_budget = config_dict.placeholder(int)  # positions of a batch at most, which bounds its rows
    config.max_buckets = 4  # rectangles, each compiled once
    config.multiple_of = 1  # of the rectangles' extents
    config.mixup = 0.0  # Beta parameter; 0: none
    config.ema_decay = config_dict.placeholder(float)  # of averaged weights, which are then evaluated and saved
    config.remat = False  # less memory for about a third more computation
    config.shard_weights = False  # each device keeps a part of the weights and of the optimizer's state
    config.validate_every = 1  # epochs; 0: after the last one only
    config.checkpoint_every = 1  # epochs; 0: none at the end of epochs
    config.checkpoint_steps = 0  # besides; 0: none
    config.checkpoint_last = 1  # how many of the latest are kept
    config.checkpoint_best = 0  # how many of the best in validation are kept besides
    config.checkpoint_failure = "stop"  # where one cannot be written; or continue

    config.data = ConfigDict()
    config.data.name = config_dict.placeholder(str)  # see fcnjax.data.load_source
    config.data.train_split = "train"
    config.data.validation_split = "validation"
    config.data.test_split = "test"
    config.data.data_dir = config_dict.placeholder(str)  # None: where TFDS keeps its data sets
    config.data.mean = 0.0  # of pixels in [0, 1]
    config.data.std = 1.0
    config.data.channels = config_dict.placeholder(int)  # of image files: 1, 3; None: 1 where all are gray
    config.data.sample_rate = config_dict.placeholder(int)  # of audio files, Hz; None: their own
    config.data.on_error = "refuse"  # what cannot be decoded, before training; or mask: train on the rest

    config.size = ConfigDict()  # native sizes, unless
    config.size.max_area = config_dict.placeholder(int)  # positions
    config.size.max_side = config_dict.placeholder(int)  # positions
    config.size.min_side = config_dict.placeholder(int)  # positions; the network's minimum holds in any case
    config.size.below = "refuse"  # the minimum; or upsample, pad
    config.size.multiple_of = 1

    config.crop = ConfigDict()  # training only: a part of each example, at the size drawn
    config.crop.area = (1.0, 1.0)  # least and largest share
    config.crop.aspect = (1.0, 1.0)  # least and largest change of width / height
    config.crop.at_least = config_dict.placeholder(int)  # positions; the network's minimum holds in any case

    config.frontend = ConfigDict()
    config.frontend.name = config_dict.placeholder(str)  # log_mel
    config.frontend.sample_rate = config_dict.placeholder(int)  # Hz; None: data.sample_rate
    config.frontend.window = config_dict.placeholder(float)  # seconds
    config.frontend.hop = config_dict.placeholder(float)  # seconds
    config.frontend.mels = config_dict.placeholder(int)  # bands
    config.frontend.f_min = config_dict.placeholder(float)  # Hz
    config.frontend.f_max = config_dict.placeholder(float)  # Hz
    config.frontend.time_masks = config_dict.placeholder(int)  # SpecAugment, in training
    config.frontend.time_width = config_dict.placeholder(float)  # share of the example's frames
    config.frontend.frequency_masks = config_dict.placeholder(int)
    config.frontend.frequency_width = config_dict.placeholder(float)  # share of the bands

    config.loader = ConfigDict()  # changes nothing in what a run computes
    config.loader.threads = 2
    config.loader.workers = 0  # processes in place of threads
    config.loader.prefetch = 4  # batches held ready

    config.log = ConfigDict()  # changes nothing in what a run computes
    config.log.every_steps = 0  # between reports of loss and speed; 0: at the end of each epoch only
    config.log.tensorboard = False  # event files, in the run's folder tensorboard

    config.profile = ConfigDict()  # changes nothing in what a run computes
    config.profile.start = 10  # first step that is recorded, from 1
    config.profile.steps = 0  # recorded, in the run's folder profile; 0: none

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
    config.augment.rotation = 0.0  # degrees
    config.augment.scale = 0.0  # of the logarithm of the zoom, height and width apart
    config.augment.shear = 0.0
    config.augment.shift = 0.0  # of the extent
    config.augment.flip = 0.0  # probability; left and right
    config.augment.flip_vertical = 0.0  # probability
    config.augment.brightness = 0.0  # in units of std
    config.augment.contrast = 0.0  # of the factor
    config.augment.saturation = 0.0  # of the factor; RGB
    config.augment.hue = 0.0  # degrees; RGB
    config.augment.erase = 0.0  # probability
    config.augment.erase_area = 0.25  # largest share
    config.augment.gain = 0.0  # of signals, decibels
    config.augment.noise = 0.0  # of signals, in units of their root mean square
    config.augment.time_shift = 0.0  # of signals, share of the length

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"  # or lamb, muon, sgd
    config.optimizer.learning_rate = 5e-3  # peak
    config.optimizer.schedule = "cosine"  # or constant, step
    config.optimizer.warmup = 0.1  # share of the steps
    config.optimizer.boundaries = ()  # of step: shares of the run
    config.optimizer.factor = 0.1  # of step: the rate's at each boundary
    config.optimizer.weight_decay = 0.3  # on kernels only
    config.optimizer.momentum = 0.9  # of sgd and muon
    config.optimizer.beta1 = 0.9  # of all but sgd
    config.optimizer.beta2 = 0.999
    config.optimizer.epsilon = 1e-8
    config.optimizer.clip_norm = config_dict.placeholder(float)

    config.loss = ConfigDict()  # of training; evaluation is plain cross-entropy
    config.loss.label_smoothing = 0.0
    config.loss.class_weights = config_dict.placeholder(object)  # one number per class, or balanced
    return config


def digits_config(network: str = "fcn") -> Any:
    """Returns `default_config` with the small affine changes that leave a digit the same digit."""
    config = default_config(network)
    config.update(augment={"rotation": 6.0, "scale": 0.08, "shear": 0.05, "shift": 0.05})
    return config


def photos_config(network: str = "resnet18") -> Any:
    """Returns a config for color photographs of some hundred pixels a side, each at its own size."""
    config = default_config(network)
    config.update(epochs=30, batch_size=32, max_buckets=8)
    with config.ignore_type():  # one number per channel in place of one for all: ImageNet's
        config.update(data={"channels": 3, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)})
    config.update(augment={"flip": 0.5, "rotation": 5.0, "scale": 0.1, "shift": 0.05})
    config.update(optimizer={"learning_rate": 1e-3, "weight_decay": 0.05})
    return config


def sounds_config(network: str = "fcn", sample_rate: int = 8000) -> Any:
    """Returns a config for recordings, each of its own length, seen as log-mel spectrograms of that sample rate."""
    config = default_config(network)
    config.update(epochs=30, batch_size=32, max_buckets=6)
    config.update(data={"sample_rate": sample_rate}, augment={"gain": 6.0, "time_shift": 0.1})
    config.update(frontend={"name": "log_mel", "time_masks": 1, "frequency_masks": 1})
    if network == "fcn":
        config.update(model={"channels": (64, 128, 128)})  # each block halves the number of frames
    config.update(optimizer={"learning_rate": 2e-3, "weight_decay": 0.05})
    return config
