"""Random changes of examples: crops on the host, all others on the device within a training step."""

from fcnjax.data.augmentation.augmentation import Affine, Augmentation
from fcnjax.data.augmentation.crop import RandomCrop
from fcnjax.data.augmentation.mixup import mix

__all__ = ["Affine", "Augmentation", "RandomCrop", "mix"]
