"""What a file is, by its content; by its extension only where content can't tell."""

from __future__ import annotations

import fnmatch
import mimetypes
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import BinaryIO

_HEAD = 1 << 16
UNKNOWN = "application/octet-stream"
EMPTY = "application/x-empty"
_SURE = 0.3  # below, puremagic has seen two bytes or fewer

# What the standard library's table lacks.
_MORE = {
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".toml": "application/toml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_OFFICE = "application/vnd.openxmlformats-officedocument"
_ZIPPED = (
    ("xl/", ".xlsx", f"{_OFFICE}.spreadsheetml.sheet"),
    ("word/", ".docx", f"{_OFFICE}.wordprocessingml.document"),
    ("ppt/", ".pptx", f"{_OFFICE}.presentationml.presentation"),
)
_TEXTUAL = ("json", "xml", "yaml", "toml", "javascript", "ndjson", "x-sh", "sql", "csv")
# Formats that always begin with their mark: without it the extension is wrong, or the file is damaged.
_MARKED = frozenset(
    (".pdf", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".zip", ".xlsx", ".docx", ".pptx", ".gz", ".7z")
)
_CONTROLS = frozenset(range(32)) - {7, 8, 9, 10, 12, 13, 27}


@dataclass(frozen=True, slots=True)
class FileType:
    """`extensions` are those that such a file may rightly have, lower case, with their dots."""

    media_type: str
    extensions: frozenset[str]

    def accepted(self, types: Sequence[str]) -> bool:
        """Whether one of the types (`pdf`, `.pdf`, `image/png`, `image/*`) is this one."""
        return any(self._is(wanted.lower()) for wanted in types)

    def _is(self, wanted: str) -> bool:
        if "/" in wanted:
            return fnmatch.fnmatchcase(self.media_type, wanted)
        return f".{wanted.removeprefix('.')}" in self.extensions


def file_type(stream: BinaryIO, name: str) -> FileType:
    """The type of an open file that is named `name`. The stream's position changes."""
    extension = PurePath(name).suffix.lower()
    stream.seek(0)
    head = stream.read(_HEAD)
    if not head:
        return FileType(EMPTY, frozenset())
    if head.startswith(b"PK\x03\x04") and (zipped := _zipped(stream)):
        return zipped
    text = is_text(head)
    by_name = _media_types().get(extension)
    if text and by_name and _textual(by_name) and not head.startswith((b"%PDF", b"{\\rtf")):
        return FileType(by_name, frozenset({extension}))
    if known := _by_magic(stream, extension, text=text):
        return known
    if text:
        return FileType("text/plain", frozenset({".txt", ".text", *({extension} if not by_name else ())}))
    if by_name and not _textual(by_name) and extension not in _MARKED:
        return FileType(by_name, frozenset({extension}))
    return FileType(UNKNOWN, frozenset() if by_name else frozenset({extension}))


def is_text(head: bytes) -> bool:
    """Whether the beginning of a file looks like text of any common encoding."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    return _CONTROLS.isdisjoint(head)


def _textual(media_type: str) -> bool:
    kind, _, rest = media_type.partition("/")
    return kind == "text" or (any(word in rest for word in _TEXTUAL) and "officedocument" not in rest)


def _zipped(stream: BinaryIO) -> FileType | None:
    """Office files, OpenDocument and EPUB are archives; what is in them tells which. None: some damaged archive."""
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
            if names and names[0] == "mimetype":
                media_type = archive.read("mimetype")[:100].decode("ascii", "replace").strip()
                return FileType(media_type, _extensions(media_type))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError):
        return None
    if "[Content_Types].xml" in names:
        for folder, extension, media_type in _ZIPPED:
            if any(name.startswith(folder) for name in names):
                return FileType(media_type, frozenset({extension}))
    return FileType("application/zip", frozenset({".zip", ".jar", ".cbz", ".whl", ".apk"}))


def _by_magic(stream: BinaryIO, extension: str, *, text: bool) -> FileType | None:
    import puremagic

    stream.seek(0, os.SEEK_SET)
    try:
        found = puremagic.magic_stream(stream)
    except (puremagic.PureError, ValueError):
        return None
    sure = [match for match in found if match.mime_type and (match.confidence >= _SURE or not text)]
    if not sure:
        return None
    best = next((match for match in sure if match.extension == extension), sure[0])
    same = {match.extension for match in sure if match.mime_type == best.mime_type}
    return FileType(best.mime_type, _extensions(best.mime_type) | same)


def _extensions(media_type: str) -> frozenset[str]:
    return frozenset(ext for ext, known in _media_types().items() if known == media_type)


@cache
def _media_types() -> dict[str, str]:
    """Extension → media type, the same on every machine (no look at /etc/mime.types)."""
    table = mimetypes.MimeTypes(filenames=())
    return {**table.types_map[False], **table.types_map[True], **_MORE}
