"""Sources on disk: folders of images or recordings, read at their native sizes."""

from fcnjax.data.files.folder import FolderSource, UnreadableFiles

__all__ = ["FolderSource", "UnreadableFiles"]
