"""Decoding: the values of image files and recordings, and of objects that hold one, the same on every road."""

from fcnjax.data.decoding.audio_files import decode_audio, read_length
from fcnjax.data.decoding.image_files import decode_image, image_values, read_size

__all__ = [
    "decode_audio",
    "decode_image",
    "image_values",
    "read_length",
    "read_size",
]
