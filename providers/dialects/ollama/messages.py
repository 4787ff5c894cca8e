"""Messages, read: of a caller's request, and what the model said in an answer.

Calls have no ids in this language (recent servers add one): each gets one, and a result belongs to the first open call
of its tool's name, or to the first open call where it names none. `form` keeps what only stood there:

    content   `[value]` of a content without text, `absent` where there was none
    keep      keys that say nothing
    name      the key under which a result names its tool
    raw       base64 with line ends
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from providers.canonical.chat import AnyPart, Media, Message, Reasoning, Role, Text, ToolCall, ToolResult
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.turns import Places, as_talk

from .read import Plain, unwrapped
from .words import Json, Object, invented, leftovers, make_form

_encode = msgspec.json.encode
_ABSENT: Any = object()
_PLACES = Places("messages", "content")
_SPEAKERS = ("user", "assistant", "system")
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}

#: How the base64 of each kind of image begins.
_BEGINNINGS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "Qk": "image/bmp",
}


# ── arguments as they were written ─────────────────────────────────────────────────────


class _Function(msgspec.Struct):
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    function: _Function


class _Spoken(msgspec.Struct):
    tool_calls: list[_Call] | None = None


class _Answer(msgspec.Struct):
    message: _Spoken


_in_request = msgspec.json.Decoder(list[_Spoken]).decode
_in_answer = msgspec.json.Decoder(_Answer).decode


def _texts(spoken: _Spoken) -> list[str]:
    return [bytes(call.function.arguments).decode() for call in spoken.tool_calls or ()]


def arguments_in(answer: bytes) -> list[str]:
    """The arguments of an answer's calls, byte for byte; none where they cannot be had so."""
    try:
        return _texts(_in_answer(answer).message)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []


# ── messages ───────────────────────────────────────────────────────────────────────────


class _Open:
    """The calls of the last turn of the model that have no result yet: (id, name)."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, str]] = []

    def turn(self, parts: Sequence[AnyPart]) -> None:
        calls = [(part.id, part.name) for part in parts if isinstance(part, ToolCall)]
        if calls:
            self._calls = calls

    def take(self, given: str | None, name: str | None) -> tuple[str, str] | None:
        """The call that a result answers."""
        for call in self._calls:
            if call[0] == given or (given is None and (name is None or call[1] == name)):
                self._calls.remove(call)
                return call
        return None


def read_messages(raws: Sequence[Object], data: bytes) -> tuple[Message, ...]:
    """The messages of a request that `read` has accepted. `data` is their JSON text."""
    waiting = _Open()
    written = [_texts(one) for one in _in_request(data)] if b'"tool_calls"' in data else []
    return tuple(
        [
            _plain(raw, i) or _message(raw, f"messages[{i}]", i, waiting, written[i] if written else ())
            for i, raw in enumerate(raws)
        ]
    )


def read_usual(plain: Sequence[Plain]) -> tuple[Message, ...]:
    """The messages of a usual request."""
    roles: list[Role] = [one.role for one in plain]
    texts = [one.content for one in plain]
    return as_talk(_PLACES.messages(roles, texts), roles, texts)


def _plain(raw: Object, number: int) -> Message | None:
    """Most messages among others: a role and a text. None for any other."""
    role, content = raw["role"], raw.get("content")
    if len(raw) != 2 or not content or type(content) is not str or role not in _SPEAKERS:
        return None
    at, inside = _PLACES.of(number)
    return Message(role=role, parts=(Text(text=content, at=inside),), at=at)


def _message(raw: Object, at: str, number: int, waiting: _Open, written: Sequence[str]) -> Message:
    role = _ROLES.get(raw["role"])
    if role is None:
        raise UnsupportedParameter(f"{at}.role: only the model's own template knows this role", param=f"{at}.role")
    rest = dict(raw)
    del rest["role"]
    if role == "tool":
        return _result(rest, at, number, waiting)
    parts, content = read_spoken(rest, at, f"message {number}", written)
    if role == "assistant":
        waiting.turn(parts)
    extra, keep = leftovers(rest)
    return Message(role=role, parts=parts, extra=extra, form=make_form(content=content, keep=keep), at=at)


def _result(rest: Object, at: str, number: int, waiting: _Open) -> Message:
    key = next((key for key in ("tool_name", "name") if rest.get(key) and type(rest[key]) is str), None)
    name: str | None = rest.pop(key) if key else None
    given: str | None = rest.pop("tool_call_id") if rest.get("tool_call_id") else None
    parts, content = read_spoken(rest, at, f"message {number}")
    call = waiting.take(given, name)
    found = call[0] if call else given or f"call_of_{name or 'unknown'}_{number}"
    result = ToolResult(
        call_id=found,
        parts=tuple(part for part in parts if isinstance(part, Text | Media)),
        name=name or (call[1] if call else None),
        invented_id=given is None,
        at=at,
    )
    others = tuple(part for part in parts if not isinstance(part, Text | Media))
    extra, keep = leftovers(rest)
    form = make_form(content=content, keep=keep, name=key or "absent")
    return Message(role="tool", parts=(result, *others), extra=extra, form=form, at=at)


def read_spoken(
    rest: Object, at: str, created_at: Json, written: Sequence[str] = ()
) -> tuple[tuple[AnyPart, ...], Json]:
    """The parts of a message, and how its content was written where it holds no text. Takes them out of `rest`.

    `created_at` is what the ids of calls are made from, `written` their arguments as they stood there.
    """
    parts: list[AnyPart] = []
    thinking = rest.get("thinking")
    if thinking and type(thinking) is str:
        del rest["thinking"]
        parts.append(Reasoning(text=thinking, at=f"{at}.thinking"))
    content = rest.pop("content", _ABSENT)
    spelled: Json = None
    if content and type(content) is str:
        parts.append(Text(text=content, at=f"{at}.content"))
    else:
        spelled = "absent" if content is _ABSENT else [content]
    parts += take_images(rest, at)
    calls = rest.get("tool_calls")
    if calls and type(calls) is list:
        del rest["tool_calls"]
        for i, call in enumerate(calls):
            text = written[i] if i < len(written) else None
            parts.append(read_call(call, f"{at}.tool_calls[{i}]", i, created_at, text))
    return tuple(parts), spelled


def take_images(rest: Object, at: str) -> list[Media]:
    """The images of a message, taken out of it."""
    images = rest.get("images")
    if not images or type(images) is not list:
        return []
    del rest["images"]
    return [_image(text, f"{at}.images[{i}]" if at else f"images[{i}]") for i, text in enumerate(images)]


def _image(text: str, at: str) -> Media:
    data = unwrapped(text)
    mime_type = next((kind for begins, kind in _BEGINNINGS.items() if data.startswith(begins)), None)
    return Media(
        kind="image", base64=data, mime_type=mime_type, form=make_form(raw=text if text != data else None), at=at
    )


def read_call(raw: Object, at: str, number: int, created_at: Json, written: str | None = None) -> ToolCall:
    """One of `tool_calls`. Its arguments are an object, here as JSON text: as it was `written`, if that is known."""
    rest = dict(raw)
    given = rest.pop("id") if rest.get("id") and type(rest["id"]) is str else None
    inner = dict(rest.pop("function"))
    name, arguments = str(inner.pop("name")), inner.pop("arguments", _ABSENT)
    index = inner.pop("index", None)
    text = _arguments(arguments, written)
    extra, keep = leftovers(rest)
    inside, inside_keep = leftovers(inner)
    if inside:
        extra = {**(extra or {}), "function": inside}
    form = make_form(
        keep=keep,
        inside=inside_keep,
        index=None if index is None else [index],
        arguments="absent" if arguments is _ABSENT else "null" if arguments is None else None,
    )
    return ToolCall(
        id=given or invented(created_at, number, name, text),
        name=name,
        arguments=text,
        invented_id=given is None,
        extra=extra,
        form=form,
        at=at,
    )


def _arguments(value: Json, written: str | None) -> str:
    if type(value) is str:
        return value
    if value is None or value is _ABSENT:
        return "{}"
    return written or _encode(value).decode()
