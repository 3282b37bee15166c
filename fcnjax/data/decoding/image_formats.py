"""Which format an image file has, by its first bytes alone: one that is read, one that is known but not read, or none.

The one idea: Pillow is only ever given the one format that the bytes name. No format here runs another program, and a
format without a magic number (TGA) counts only if its whole header is consistent, so that random bytes are no image.
"""

import importlib
import re

# Importing a plugin registers its format. Otherwise Pillow imports all plugins at the first file it cannot read.
from PIL import BmpImagePlugin as _bmp  # noqa: F401
from PIL import GifImagePlugin as _gif  # noqa: F401
from PIL import IcoImagePlugin as _ico  # noqa: F401
from PIL import Jpeg2KImagePlugin as _jpeg2k  # noqa: F401
from PIL import MpoImagePlugin as _mpo  # noqa: F401
from PIL import PcxImagePlugin as _pcx  # noqa: F401
from PIL import PngImagePlugin as _png  # noqa: F401
from PIL import PpmImagePlugin as _ppm  # noqa: F401
from PIL import QoiImagePlugin as _qoi  # noqa: F401
from PIL import SgiImagePlugin as _sgi  # noqa: F401
from PIL import TgaImagePlugin as _tga  # noqa: F401
from PIL import WebPImagePlugin as _webp  # noqa: F401

from fcnjax.data.decoding.unreadable import Refusal

_TGA = re.compile(
    # no palette, true color or gray | a palette of 1 to 256 colors; then the place, the size, and bits a pixel
    rb".(?:\x00[\x02\x03\n\x0b]\x00{5}|\x01[\x01\x09].{2}(?:[\x01-\xff]\x00|\x00\x01)[\x0f\x10\x18\x20])"
    rb".{4}(?!\x00\x00).{2}(?!\x00\x00).{2}[\x08\x0f\x10\x18\x20][\x00-\x3f]"
    rb"|.\x00\x03\x00{9}(?!\x00\x00).{2}(?!\x00\x00).{2}\x01[\x00-\x3f]",  # 1 bit, as Pillow writes it
    re.DOTALL,
)
READ = (  # how the files of each format start; JPEG first, as in messages
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WEBP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("TIFF", re.compile(rb"II[*+]\x00|MM\x00[*+]")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("BMP", re.compile(rb"BM")),
    ("AVIF", re.compile(rb".{4}ftyp(?:avi[fs]|(?:mif1|msf1).{4}(?:.{4}){0,8}avif)", re.DOTALL)),
    ("JPEG2000", re.compile(rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  \r\n\x87\n")),
    ("PPM", re.compile(rb"P[1-6f](?:\s|#[^\n\r]*[\n\r])+[0-9#]")),
    ("ICO", re.compile(rb"\x00\x00\x01\x00(?!\x00\x00)")),
    ("QOI", re.compile(rb"qoif")),
    ("PCX", re.compile(rb"\n[\x00\x02\x03\x04\x05]\x01[\x01\x02\x04\x08]")),
    ("SGI", re.compile(rb"\x01\xda[\x00\x01][\x01\x02]\x00[\x01\x02\x03]")),
    ("TGA", _TGA),
)
FORMATS = tuple(name for name, _ in READ)
# Formats in which the relevant part of the header precedes the pixels. TIFF may have it anywhere; WebP's library checks
# the length when the file is opened, an icon may have its largest image last, and a GIF tells of frames where they are.
HEADER_FIRST = ("JPEG", "PNG", "BMP", "JPEG2000", "PPM", "QOI", "TGA")
NO_IMAGE = f"not an image, or its header is damaged; known formats are {', '.join(FORMATS)}"
_TO_PNG = "convert it to PNG or TIFF"
_NOT_READ = (  # formats that people take for images, what they are, and what to do with them
    (rb".{4}ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)", "HEIC", _TO_PNG),
    (rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |\x00\x00\x01[\xb3\xba]", "a video", "extract its frames as images"),
    (rb"\xff\n|\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL", _TO_PNG),
    (rb"II\xbc", "JPEG XR", _TO_PNG),
    (rb"P7\n|PF\s", "PAM, or PFM in color", "convert it to PNG or TIFF (of floats: TIFF)"),
    (rb".\x00\x0b\x00{9}.{4}\x01[\x00-\x3f]", "TGA of 1 bit with run lengths", _TO_PNG),
    (rb"8BPS|gimp xcf", "a file with layers (PSD, XCF)", "export it as PNG or TIFF"),
    (rb"%!PS|\xc5\xd0\xd3\xc6|%PDF-", "a document (PostScript, PDF)", "render it as PNG"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.{0,500})?(?:<!--.{0,500})?(?:<!DOCTYPE.{0,500})?<svg", "SVG", "render it as PNG"),
    (rb".{128}DICM", "DICOM", "write its pixels as PNG of 16 bits or TIFF"),
    (rb"SIMPLE  =|\x89HDF|CDF[\x01\x02]|\x93NUMPY|\x76\x2f\x31\x01|#\?RADIANCE|.{344}n[i+]1\x00",
     "data of a program (FITS, HDF5, NetCDF, NumPy, OpenEXR, NIfTI)",
     "write each image as TIFF, or save arrays with fcnjax.data.save_npz"),
    (rb"FUJIFILMCCD|IIU\x00|IIR[OS]|II\*\x00.{4}CR", "raw data of a camera", "develop it to TIFF or JPEG"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh[1-9]1AY", "an archive or a compressed file", "unpack it"),
    (rb"RIFF.{4}WAVE|fLaC|OggS|ID3[\x02-\x04]|FORM.{4}AIF", "a recording",
     "give recordings and images in data sets apart"),
    (rb"DDS |icns|\x00\x00\x02\x00\x01\x00", "a texture or a set of icons (DDS, ICNS, CUR)", _TO_PNG),
)  # fmt: skip
NOT_READ = tuple((re.compile(start, re.DOTALL), name, advice) for start, name, advice in _NOT_READ)


def format_of(start: bytes) -> str:
    """Returns which of `FORMATS` a file has.

    Args:
        start: its first bytes, 1 KiB or all.

    Raises:
        Refusal: if it has none of them, or one that is not read, or one that this Pillow lacks.
    """
    if start.startswith(b"II*\x00") and start[8:10] == b"CR":
        found = None
    else:
        found = next((name for name, magic in READ if magic.match(start)), None)
    if found == "AVIF" and not _reads_avif():
        raise Refusal(f"not supported: AVIF, by this version of Pillow; install Pillow 11.3 or later, or {_TO_PNG}")
    if found:
        return found
    for magic, name, advice in NOT_READ:
        if magic.match(start):
            raise Refusal(f"not supported: {name}; {advice}")
    raise Refusal(NO_IMAGE)


def _reads_avif() -> bool:
    """Returns whether this Pillow reads AVIF, and registers the format if so."""
    try:
        return importlib.import_module("PIL.AvifImagePlugin").SUPPORTED
    except (ImportError, AttributeError):
        return False
