"""What the header of a recording claims of its length, against the bytes that are there, before libsndfile reads it.

The one idea: libsndfile reads what it finds without a word, and stops where the first of several joined recordings
ends. So a recording with fewer bytes than its header claims is refused as damaged, one with more as joined; a header
that claims no length, as programs write it to a pipe, is mended so that everything behind it is read. Formats that
claim no length at all (Ogg, MP3 without a Xing or Info frame) are read as far as they go.
"""

import io
import re
from typing import BinaryIO

from fcnjax.data.decoding.unreadable import Refusal, damaged

CUT = "ends before the length that its header claims; record, copy or encode it again"
NO_AUDIO = "not an audio file, or its header is damaged; known formats are WAV, FLAC, OGG, MP3, AIFF and more"
_UNKNOWN = 0x7FFFF000  # a length from here on stands for an unknown one: what sox and ffmpeg write to a pipe
_KNOWN = (
    (rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE", "WAV"),
    (rb"fLaC", "FLAC"),
    (rb"OggS", "OGG"),
    (rb"FORM.{4}AIF[FC]", "AIFF"),
    (rb"ID3[\x02-\x04]|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xfd]", "MP3"),
)
_NOT_READ = (
    (rb".{4}ftyp|\xff[\xf0\xf1\xf8\xf9]|ADIF", "M4A or AAC"),
    (rb"\x30\x26\xb2\x75|\.RMF|\.ra\xfd|\x1aE\xdf\xa3|RIFF.{4}AVI ", "WMA, RealMedia, Matroska or AVI"),
    (rb"#!AMR|MAC |wvpk|TTA[12]|DSD |FRM8|MThd", "AMR, APE, WavPack, TTA, DSD or MIDI"),
)
_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\x00|MM\x00\*|RIFF.{4}WEBP|BM.{4}\x00{4}", re.DOTALL)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits of MP3


def kind_of(start: bytes) -> str:
    """Returns the name of a recording's format by its first bytes, "recording" if only libsndfile knows.

    Raises:
        Refusal: if the file is empty, or of a kind that is known and not read.
    """
    if not start:
        raise Refusal("an empty file")
    for magic, kind in _KNOWN:
        if re.match(magic, start, re.DOTALL):
            return kind
    for magic, kind in _NOT_READ:
        if re.match(magic, start, re.DOTALL):
            raise Refusal(f"not supported: {kind}; convert it to FLAC or WAV")
    if _IMAGE.match(start):
        raise Refusal("not supported: an image; give recordings and images in data sets apart")
    return "recording"


def check_length(stream: BinaryIO, kind: str) -> tuple[int, bytes] | None:
    """Returns the place and the bytes to put there for libsndfile to read the whole file; None: nothing.

    Args:
        stream: the file; it is left where it was.
        kind: from `kind_of`.

    Raises:
        Refusal: if the file holds less than its header claims, or several recordings end to end.
    """
    start = stream.tell()
    try:
        total = stream.seek(0, io.SEEK_END) - start
        if kind in ("WAV", "AIFF"):
            return _check_chunks(stream, start, total, kind)
        if kind == "MP3":
            return _check_mp3(stream, start, total)
        return None
    finally:
        stream.seek(start)


def check_pages(content: bytes) -> None:
    """Raises Refusal if an Ogg file holds several recordings end to end."""
    place, begun = 0, False
    while content.startswith(b"OggS", place):
        first = bool(content[place + 5 : place + 6] and content[place + 5] & 2)
        if first and begun:
            raise _joined()
        begun = begun or not first
        segments = content[place + 26 : place + 27]
        if not segments:
            return
        table = content[place + 27 : place + 27 + segments[0]]
        place += 27 + len(table) + sum(table)


def _joined() -> Refusal:
    return Refusal(
        "not supported: several recordings end to end in one file, of which only the first would be read; decode and "
        "encode it again"
    )


def _read(stream: BinaryIO, place: int, count: int) -> bytes:
    stream.seek(place)
    return stream.read(count)


def _check_chunks(stream: BinaryIO, start: int, total: int, kind: str) -> tuple[int, bytes] | None:
    head = _read(stream, start, 12)
    order = "big" if kind == "AIFF" or head.startswith(b"RIFX") else "little"
    place, long_length = 12, None
    for _ in range(1000):  # chunks of metadata
        chunk = _read(stream, start + place, 24)
        if len(chunk) < 8:
            return None
        name, length, after = chunk[:4], int.from_bytes(chunk[4:8], order), total - place - 8
        if name == b"ds64":
            long_length = int.from_bytes(chunk[16:24], "little")
        if name in (b"data", b"SSND"):
            if length == 2**32 - 1 and long_length:
                length = long_length
            elif length >= _UNKNOWN:
                return None  # libsndfile reads to the end
            if not length and after and not _are_chunks(stream, start + place + 8, after, order):
                return start + place + 4, b"\xff" * 4
            if length > after:
                raise Refusal(damaged(kind, CUT))
            return None
        place += 8 + length + length % 2
    return None


def _are_chunks(stream: BinaryIO, place: int, count: int, order: str) -> bool:
    """Returns whether bytes are whole chunks, such as the metadata of an empty recording."""
    end = place + count
    while place + 8 <= end:
        chunk = _read(stream, place, 8)
        if not chunk[:4].isalnum() and not chunk[:4].strip().isalnum():
            return False
        length = int.from_bytes(chunk[4:], "big" if order == "big" else "little")
        place += 8 + length + length % 2
    return place in (end, end + 1)


def _frame_bytes(header: bytes) -> int:
    """Returns the length of the MP3 frame that begins with these 4 bytes; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # layer III
        return 0
    version, rate, bits = (header[1] >> 3) & 3, (header[2] >> 2) & 3, header[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return 0
    low = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    high = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    kbits = (high if version == 3 else low)[bits]
    return (144 if version == 3 else 72) * 1000 * kbits // _RATES[version][rate] + ((header[2] >> 1) & 1)


def _check_mp3(stream: BinaryIO, start: int, total: int) -> tuple[int, bytes] | None:
    place, tag = 0, _read(stream, start, 10)
    if tag.startswith(b"ID3") and len(tag) == 10:
        place = 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    frame = _read(stream, start + place, 256)
    if not _frame_bytes(frame):
        return None
    found = max(frame.find(b"Xing", 0, 64), frame.find(b"Info", 0, 64))
    if found < 0 or frame[found + 7] & 2 == 0:
        return None
    field = found + (12 if frame[found + 7] & 1 else 8)
    claimed = int.from_bytes(frame[field : field + 4], "big")
    there = total - place - (128 if _read(stream, start + max(0, total - 128), 3) == b"TAG" else 0)
    if claimed < there:
        rest = _read(stream, start + place + claimed, min(there - claimed, 4096))
        for offset in range(min(len(rest), 2048)):
            length = _frame_bytes(rest[offset : offset + 4])
            if rest.startswith(b"ID3", offset) or (length and _frame_bytes(rest[offset + length :][:4])):
                raise _joined()
    # libmpg123 prints a warning where this number is not exact.
    return (start + place + field, there.to_bytes(4, "big")) if there < 2**32 else None
