"""Sources on disk: folders of images or recordings, read at their native sizes."""

from fcnjax.data.files.folder import FolderSource, UnreadableFiles
from fcnjax.data.files.label_settings import LabelSettings

__all__ = ["FolderSource", "LabelSettings", "UnreadableFiles"]
