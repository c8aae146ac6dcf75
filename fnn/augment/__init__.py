"""Augmentation on the device: pure functions ``(key, batch) -> batch``, a key for each example."""

from fnn.augment.affine import Transform, affine, flip, rotate, scale, shear, stretch, translate
from fnn.augment.augmentation import compose, identity, per_example, sometimes
from fnn.augment.averaging import Average, averaged, mirrored, ten_crop
from fnn.augment.color import color_jitter
from fnn.augment.erase import cutout, gaussian_noise, random_erasing
from fnn.augment.mixing import cutmix, mixup
from fnn.augment.resample import resample
from fnn.augment.shift import horizontal_flip, random_crop, vertical_flip
from fnn.batch import Augmentation

__all__ = [
    "Augmentation",
    "Average",
    "Transform",
    "affine",
    "averaged",
    "color_jitter",
    "compose",
    "cutmix",
    "cutout",
    "flip",
    "gaussian_noise",
    "horizontal_flip",
    "identity",
    "mirrored",
    "mixup",
    "per_example",
    "random_crop",
    "random_erasing",
    "resample",
    "rotate",
    "scale",
    "shear",
    "sometimes",
    "stretch",
    "ten_crop",
    "translate",
    "vertical_flip",
]
