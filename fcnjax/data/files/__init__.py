"""Sources on disk: folders of images or recordings, read at their native sizes."""

from fcnjax.data.files.audio_files import decode_audio, read_length
from fcnjax.data.files.folder import FolderSource, UnreadableFiles
from fcnjax.data.files.image_files import decode_image, image_values, read_size
from fcnjax.data.files.label_settings import LabelSettings

__all__ = [
    "FolderSource",
    "LabelSettings",
    "UnreadableFiles",
    "decode_audio",
    "decode_image",
    "image_values",
    "read_length",
    "read_size",
]
