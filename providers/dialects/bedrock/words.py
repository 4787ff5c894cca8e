"""Names, ids and types as this dialect takes them."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, TypeAlias

from providers.canonical.errors import UnsupportedParameter

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]

NAME = "bedrock.converse"
FAMILY = "bedrock"  # origin of its seals: nobody has shown that a signature made here is taken elsewhere

#: Stands where a text is wanted and there is none: blank text is refused.
PLACEHOLDER = "."

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PREFIX = "isthmus_"


def written_name(name: str, at: str) -> str:
    """A function name as this dialect takes it; an illegal one is escaped so that `read_name` finds it again."""
    if _NAME.fullmatch(name) and not name.startswith(_PREFIX):
        return name
    escaped = _PREFIX + re.sub(r"[^A-Za-z0-9_]", lambda match: f"-{ord(match[0]):x}-", name)
    if not name or not _NAME.fullmatch(escaped):
        raise UnsupportedParameter(f"{at or 'name'}: the target takes no such function name", param=at or "name")
    return escaped


def read_name(name: str) -> str:
    """The caller's name of a function that `written_name` escaped."""
    if not name.startswith(_PREFIX):
        return name
    return re.sub(r"-([0-9a-f]{1,6})-", lambda match: chr(int(match[1], 16)), name[len(_PREFIX) :])


def written_id(identifier: str) -> str:
    """The id of a call as this dialect takes it: one with other characters, or too long, is replaced by its digest."""
    if _ID.fullmatch(identifier):
        return identifier
    return "call_" + blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


# ── types ──────────────────────────────────────────────────────────────────────────────

#: MIME type -> (kind of block, format).
FORMATS: dict[str, tuple[str, str]] = {
    "image/png": ("image", "png"),
    "image/jpeg": ("image", "jpeg"),
    "image/jpg": ("image", "jpeg"),
    "image/gif": ("image", "gif"),
    "image/webp": ("image", "webp"),
    "application/pdf": ("document", "pdf"),
    "text/csv": ("document", "csv"),
    "application/msword": ("document", "doc"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ("document", "docx"),
    "application/vnd.ms-excel": ("document", "xls"),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ("document", "xlsx"),
    "text/html": ("document", "html"),
    "text/plain": ("document", "txt"),
    "text/markdown": ("document", "md"),
    "video/x-matroska": ("video", "mkv"),
    "video/quicktime": ("video", "mov"),
    "video/mp4": ("video", "mp4"),
    "video/webm": ("video", "webm"),
    "video/x-flv": ("video", "flv"),
    "video/mpeg": ("video", "mpeg"),
    "video/mpg": ("video", "mpg"),
    "video/x-ms-wmv": ("video", "wmv"),
    "video/3gpp": ("video", "three_gp"),
    "audio/mpeg": ("audio", "mp3"),
    "audio/mp3": ("audio", "mp3"),
    "audio/opus": ("audio", "opus"),
    "audio/wav": ("audio", "wav"),
    "audio/x-wav": ("audio", "wav"),
    "audio/aac": ("audio", "aac"),
    "audio/flac": ("audio", "flac"),
    "audio/mp4": ("audio", "mp4"),
    "audio/ogg": ("audio", "ogg"),
    "audio/webm": ("audio", "webm"),
}
#: Format -> MIME type, for media that a model made.
MIME_TYPES = {(kind, name): mime for mime, (kind, name) in reversed(FORMATS.items())}

_ENDINGS = {name: mime for (_, name), mime in MIME_TYPES.items()} | {"jpg": "image/jpeg", "3gp": "video/3gpp"}
_BEGINNINGS = {"iVBORw0KGgo": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}


def mime_by_ending(name: str) -> str | None:
    """The MIME type that a file's name or URI tells."""
    return _ENDINGS.get(name.rpartition(".")[2].lower()) if "." in name else None


def mime_by_content(base64: str) -> str | None:
    """The type of an image, by its first bytes."""
    return next((mime for begin, mime in _BEGINNINGS.items() if base64.startswith(begin)), None)
