"""Secrets as values that do not leak: references (`env:NAME`, `file:PATH`) and what they stand for.

Nothing that is printed, formatted, logged, compared in a failing assertion or pickled shows a `Secret`; only
`reveal()` does, at the one place that signs a request. Files are read once, when the table is loaded: a rotated
key takes effect with a reload, together with everything else.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

MOST_BYTES = 64 << 10
PIECE = 24  # characters of a secret that must not be seen, whatever stands around them
_STEP = 12  # any PIECE in a row holds one whole block of this many that begins at a multiple of it

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Spellings of other tools, which would otherwise be taken for a key that is written out.
_FOREIGN = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?|os\.environ/(\w+)|(?i:env):\s*(\w+)")


class BadReference(ValueError):
    """A reference that cannot be read as one. The message never holds a value."""


class Unresolved(Exception):
    """A reference to something that is not there. The message names the variable or file, never a value."""


class Secret:
    """Text that must not be seen."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself, for whoever signs a request or verifies a token."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __str__(self) -> str:
        return "***"

    def __format__(self, _: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


def check_reference(text: str) -> str:
    """Which kind a reference is: `env`, `file` or `literal`. BadReference says what is wrong with it."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "env":
        if not _NAME.fullmatch(rest):
            raise BadReference("expected env:NAME with the name of an environment variable")
        return "env"
    if colon and kind == "file":
        if not rest:
            raise BadReference("expected file:PATH")
        return "file"
    if found := _FOREIGN.fullmatch(text):
        name = next(group for group in found.groups() if group)
        raise BadReference(f"expected env:{name} for the environment variable {name}")
    if not text.strip():
        raise BadReference("expected env:NAME or file:PATH, found empty text")
    return "literal"


class Secrets:
    """What the references of one routes.yaml stand for. Relative paths start at that file's folder."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder
        self._found: dict[str, Secret | None] = {}
        self._literals = 0

    def __repr__(self) -> str:
        return "Secrets(***)"

    def literal(self, value: str) -> str:
        """Takes in a secret that is written out; the answer is a reference that can be shown."""
        self._literals += 1
        reference = f"literal:{self._literals}"
        self._found[reference] = Secret(value)
        return reference

    def resolve(self, reference: str) -> Secret:
        """The secret that a reference stands for; Unresolved names what is missing. Read once."""
        if found := self._found.get(reference):
            return found
        kind, _, rest = reference.partition(":")
        value = self._read(rest) if kind == "file" else self._environ.get(rest, "").strip()
        if not value:
            what = f"the file {rest} is empty" if kind == "file" else f"the environment variable {rest} is not set"
            raise Unresolved(what)
        if _CONTROL.search(value):
            raise Unresolved(
                f"{'the file' if kind == 'file' else 'the environment variable'} {rest} holds control characters"
            )
        self._found[reference] = Secret(value)
        return self._found[reference] or Secret(value)

    def get(self, reference: str) -> Secret | None:
        """As `resolve`, None where there is nothing: for use while a call is under way."""
        if reference in self._found:
            return self._found[reference]
        try:
            return self.resolve(reference)
        except Unresolved:
            self._found[reference] = None
            return None

    def _read(self, path: str) -> str:
        try:
            with (self._folder / path).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise Unresolved(f"the file {path} cannot be read: {error.strerror or 'error'}") from None
        if len(data) > MOST_BYTES:
            raise Unresolved(f"the file {path} has more than {MOST_BYTES} bytes")
        try:
            return data.decode().strip()
        except UnicodeDecodeError:
            raise Unresolved(f"the file {path} is not text") from None


# ── in what others say ─────────────────────────────────────────────────────────────────


def scrubbed(text: str, secret: str) -> str:
    """`text` without the secret, as `***`: whole, percent-encoded, in base64, and any PIECE characters of these."""
    for form in _forms(secret):
        text = text.replace(form, "***")
        if len(form) > PIECE:
            text = _without_pieces(text, form)
    return text


def _forms(secret: str) -> list[str]:
    """How an upstream may write the secret that it was sent."""
    encoded = quote(secret, safe="")
    forms = {secret, encoded, re.sub("%..", lambda found: found[0].lower(), encoded), secret.replace("/", "\\/")}
    # Base64 of a longer text, such as `user:secret`, may begin at any of three places.
    for before in range(3 if len(secret) >= _STEP else 0):
        block = base64.b64encode(b" " * before + secret.encode()).decode().rstrip("=")
        whole = block[2 * before : -1]  # the first and the last character may hold bits of something else
        forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return sorted(forms, key=len, reverse=True)


def _without_pieces(text: str, form: str) -> str:
    for start in range(0, len(form) - _STEP + 1, _STEP):
        block, at = form[start : start + _STEP], 0
        while (at := text.find(block, at)) >= 0:
            first, last = 0, _STEP
            while first < min(start, at) and text[at - first - 1] == form[start - first - 1]:
                first += 1
            while start + last < len(form) and text[at + last : at + last + 1] == form[start + last]:
                last += 1
            if first + last >= PIECE:
                text = text[: at - first] + "***" + text[at + last :]
                at -= first
            else:
                at += 1
    return text
