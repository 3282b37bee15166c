"""What the header of a recording claims of its length, against the bytes that are there, before libsndfile reads it.

The one idea: libsndfile reads what it finds without a word, and stops where the first of several joined recordings
ends. So a recording with fewer bytes than its header claims is refused as damaged, and one behind which another one
begins as joined; a header that claims no length, as programs write it to a pipe, is mended so that everything behind it
is read. Formats that claim no length at all (Ogg, MP3 without a Xing or Info frame) are read as far as they go, and
refused as damaged if they end within a page or frame.
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
    (rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xfd]", "MP3"),
)
_NOT_READ = (
    (rb".{4}ftyp|\xff[\xf0\xf1\xf8\xf9]|ADIF", "M4A or AAC"),
    (rb"\x30\x26\xb2\x75|\.RMF|\.ra\xfd|\x1aE\xdf\xa3|RIFF.{4}AVI ", "WMA, RealMedia, Matroska or AVI"),
    (rb"#!AMR|MAC |wvpk|TTA[12]|DSD |FRM8|MThd", "AMR, APE, WavPack, TTA, DSD or MIDI"),
)
_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\x00|MM\x00\*|RIFF.{4}WEBP|BM.{4}\x00{4}", re.DOTALL)
_ANOTHER_WAV = re.compile(rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE(?:fmt |ds64|JUNK|bext|LIST)", re.DOTALL)
_ANOTHER_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)  # with its first block, of 34 bytes
_START = 512  # bytes that tell the format
_JUNK = 2**16  # bytes that are searched for the next frame of an MP3 file
_7 = (21, 14, 7, 0)  # shifts of a number of 7 bits a byte
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits of MP3


def kind_of(content: bytes) -> str:
    """Returns the name of a recording's format by its first bytes, "recording" if only libsndfile knows.

    Behind an ID3 tag there may be any of the formats, FLAC above all; one that is not known there is taken for MP3.

    Args:
        content: the file, or at least its first 512 bytes behind a tag.

    Raises:
        Refusal: if the file is empty, or of a kind that is known and not read.
    """
    if not content:
        raise Refusal("an empty file")
    place = tag_bytes(content)
    start = content[place : place + _START]
    for magic, kind in _KNOWN:
        if re.match(magic, start, re.DOTALL):
            return kind
    for magic, kind in _NOT_READ:
        if re.match(magic, start, re.DOTALL):
            raise Refusal(f"not supported: {kind}; convert it to FLAC or WAV")
    if _IMAGE.match(start):
        raise Refusal("not supported: an image; give recordings and images in data sets apart")
    return "MP3" if place else "recording"


def tag_bytes(content: bytes) -> int:
    """Returns the number of bytes of the ID3 tags that a file begins with."""
    return _after_tags(content, 0) if re.match(rb"ID3[\x02-\x04]", content) else 0


def check_length(stream: BinaryIO, kind: str) -> tuple[int, bytes] | None:
    """Returns the place and the bytes to put there for libsndfile to read the whole file; None: nothing.

    Args:
        stream: the file; it is left where it was.
        kind: from `kind_of`.

    Raises:
        Refusal: if the file holds less than its header claims.
    """
    start = stream.tell()
    try:
        total = stream.seek(0, io.SEEK_END) - start
        if kind in ("WAV", "AIFF"):
            return _check_chunks(stream, start, total, kind)
        return None
    finally:
        stream.seek(start)


def check_whole(content: bytes, kind: str) -> None:
    """Raises Refusal if an Ogg file ends within a page, or an Ogg or FLAC file holds several recordings end to end."""
    if kind == "FLAC" and _ANOTHER_FLAC.search(content, 1):
        raise _joined()
    if kind == "OGG":
        _check_pages(content)


def _check_pages(content: bytes) -> None:
    place, begun = 0, False
    while content.startswith(b"OggS", place):
        first = bool(content[place + 5 : place + 6] and content[place + 5] & 2)
        if first and begun:
            raise _joined()
        begun = begun or not first
        segments = content[place + 26 : place + 27]
        table = content[place + 27 : place + 27 + segments[0]] if segments else b""
        if not segments or len(table) < segments[0] or place + 27 + len(table) + sum(table) > len(content):
            raise Refusal(damaged("OGG", CUT))
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
            unknown = length >= _UNKNOWN  # libsndfile reads to the end
            mended = not length and after and not _are_chunks(stream, start + place + 8, after, order)
            if unknown or mended:
                if _ANOTHER_WAV.search(_read(stream, start + place + 8, after)):
                    raise _joined()
                return (start + place + 4, b"\xff" * 4) if mended else None
            if length > after:
                raise Refusal(damaged(kind, CUT))
            _check_rest(stream, start + place + 8 + length, start + total, order)
            return None
        place += 8 + length + length % 2
    return None


def _check_rest(stream: BinaryIO, place: int, end: int, order: str) -> None:
    """Raises Refusal if another recording begins behind the samples, or behind the metadata that follow them."""
    place += _read(stream, place, 1) == b"\0"  # samples of an odd number of bytes
    for _ in range(1000):
        chunk = _read(stream, place, 12)
        if place + 12 > end or not chunk[:4].strip().isalnum():
            return
        if chunk[8:] in (b"WAVE", b"AIFF", b"AIFC") and chunk[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
            raise _joined()
        length = int.from_bytes(chunk[4:8], "big" if order == "big" else "little")
        place += 8 + length + length % 2


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


def whole_frames(content: bytes) -> bytes:
    """Returns an MP3 file without tags, whose Xing or Info frame, if there is one, claims what is there.

    libmpg123 reads on after bytes that are no frame, and prints what it skipped. It also prints a line about damaged
    samples in a whole frame, and plays them; libsndfile tells nobody, so these remain.

    Raises:
        Refusal: if it ends within a frame or before the number of frames that it claims, holds other bytes between
            frames, or is several files end to end.
    """
    place = _after_tags(content, 0)
    if _layer_2(content[place : place + 4]):
        return content
    begin = next((at for at in range(place, min(place + _JUNK, len(content))) if _follows(content, at, None)), -1)
    if begin < 0:
        raise Refusal(damaged("MP3", "its header cannot be read"))
    place, pieces, kind = begin, [], content[begin : begin + 4]
    while place < len(content):
        length = _frame_bytes(content[place : place + 4], kind)
        if length:
            if place + length > len(content):
                raise Refusal(damaged("MP3", CUT))
            pieces.append(content[place : place + length])
            place += length
        elif (after := _after_tags(content, place)) > place:
            place = after
        else:
            rest = range(place, min(place + _JUNK, len(content)))
            if any(_follows(content, at, kind) for at in rest):
                raise Refusal(damaged("MP3", "holds bytes between its frames that are none"))
            break  # what other programs append
    return _with_claim(pieces)


def _with_claim(frames: list[bytes]) -> bytes:
    """Returns frames joined, after a look at how many there are; the number of bytes, which may be off, is set."""
    first = frames[0]
    found = max(first.find(b"Xing", 0, 64), first.find(b"Info", 0, 64))
    if found < 0 or len(first) < found + 16:
        return b"".join(frames)
    claimed, place = len(frames) - 1, found + 8
    if first[found + 7] & 1:
        claimed, place = int.from_bytes(first[place : place + 4], "big"), place + 4
    if len(frames) - 1 < claimed:
        raise Refusal(damaged("MP3", CUT))
    if len(frames) - 1 > claimed + 1:
        raise _joined()
    if first[found + 7] & 2:  # libmpg123 prints a warning where it is not exact
        total = sum(map(len, frames)).to_bytes(4, "big")
        frames = [first[:place] + total + first[place + 4 :], *frames[1:]]
    return b"".join(frames)


def _after_tags(content: bytes, place: int) -> int:
    """Returns the place after the tags that begin at a place: ID3 of both kinds, and APE."""
    while True:
        if content.startswith(b"ID3", place) and len(content) >= place + 10:
            size = sum((byte & 127) << shift for byte, shift in zip(content[place + 6 : place + 10], _7, strict=True))
            place += 10 + size
        elif content.startswith(b"TAG", place):
            place += 128
        elif content.startswith(b"APETAGEX", place) and len(content) >= place + 32:
            place += 32 + int.from_bytes(content[place + 12 : place + 16], "little")
        else:
            return min(place, len(content))


def _follows(content: bytes, place: int, kind: bytes | None) -> bool:
    """Returns whether a frame begins at a place, and ends where another one begins or the file ends."""
    header = content[place : place + 4]
    length = _frame_bytes(header, kind)
    after = place + length
    return length > 0 and (after == len(content) or _frame_bytes(content[after : after + 4], header) > 0)


def _layer_2(header: bytes) -> bool:
    return len(header) == 4 and header[0] == 0xFF and header[1] & 0xE0 == 0xE0 and header[1] & 0x06 in (4, 6)


def _frame_bytes(header: bytes, kind: bytes | None = None) -> int:
    """Returns the bytes of the frame of layer III that begins with 4 bytes, alike those of `kind`; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bits = (header[1] >> 3) & 3, (header[2] >> 2) & 3, header[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return 0
    if kind and (header[1] & 0xFE, header[2] & 0x0C) != (kind[1] & 0xFE, kind[2] & 0x0C):
        return 0
    kbits = (_KBITS_1 if version == 3 else _KBITS_2)[bits]
    return (144 if version == 3 else 72) * 1000 * kbits // _RATES[version][rate] + ((header[2] >> 1) & 1)
