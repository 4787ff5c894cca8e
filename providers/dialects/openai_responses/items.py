"""The input, read: items to messages and parts.

Items of one turn of the model (messages, calls, reasoning, what its built-in tools did) become one message, for other
dialects have turns; every other item is a message of its own. Where an item began, and how it was spelled, stays in
the `form` of its first part, so that this dialect's own requests come out as they went in:

    item     the part begins an item: what stood around it and says nothing elsewhere (`status`, ids that are ours)
    keep     keys of the part itself that only stood there
    outer    keys of `extra` that belong to the item, not to the part in it
    raw      a reasoning item, whole
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import (
    AnyPart,
    Citation,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    Seal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.turns import Places, as_talk, take_turns
from providers.dialects._openai.values import Json, Object, from_url, leftovers, make_form, take_mark

from .check import Plain
from .words import NAME, Carried, carried, is_made, seal_of

# Items of built-in tools that the caller brings; every other item that we do not know is the model's.
_BROUGHT = frozenset({"additional_tools", "mcp_approval_response", "configuration_update", "compaction_trigger"})
_TYPES = {"assistant": "output_text"}  # what text is called in a message, by its role

_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_PLACES = Places("input", "content")

#: The forms of most items, by their role; nobody changes a form.
_FORMS: Mapping[str, Object] = {
    role: {"item": {"role": role, "content": "string"}} for role in ("user", "assistant", "system", "developer")
}


def form_of(value: Any) -> Mapping[str, Json]:
    return value.form or {}


def read_input(body: Mapping[str, Json], usual: Sequence[Plain] | None = None) -> tuple[Message, ...]:
    """The messages of a request that `check` has accepted: instructions first, then the items.

    `usual`: the items, where they are.
    """
    instructions = body.get("instructions")
    system = None
    if instructions:
        text = Text(text=instructions, at="instructions")
        system = Message(role="system", parts=(text,), form={"instructions": True}, at="instructions")
    if usual:
        roles = [_ROLES[one.role] for one in usual]
        if take_turns(roles, 1 if roles[0] == "system" else 0):
            return _in_turn(usual, roles, system)
    reader = _Reader()
    if system is not None:
        reader.messages.append(system)
    for i, one in enumerate(usual or ()):
        reader.plain(one.role, one.content, f"input[{i}]")
    value = body.get("input")
    if isinstance(value, str):
        text = Text(text=value, at="input")
        reader.messages.append(Message(role="user", parts=(text,), form={"input": "string"}, at="input"))
    for i, raw in enumerate(value if isinstance(value, list) else ()):
        reader.item(raw, f"input[{i}]")
    return reader.end()


def _in_turn(items: Sequence[Plain], roles: list[Role], system: Message | None) -> tuple[Message, ...]:
    """Items of which none goes on with a message of the one before."""
    texts = [item.content for item in items]
    messages = [
        Message(role=role, parts=(Text(text=text, form=form, at=inside),), at=at)
        for role, text, form, (at, inside) in zip(
            roles, texts, [_FORMS[item.role] for item in items], _PLACES.first(len(items))
        )
    ]
    return as_talk(messages, roles, texts, system)


def _is_plain(raw: Object) -> bool:
    return len(raw) == 2 and type(raw.get("content")) is str and raw.get("role") in _FORMS


class _Reader:
    """Collects items. `_turn` is the model's turn that is open, `_held` what waits for a message to stand in."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._turn: list[AnyPart] = []
        self._at = ""
        self._held: list[AnyPart] = []
        self._seals: dict[str, Carried] = {}  # of calls that have not come yet

    def item(self, raw: Object, at: str) -> None:
        if _is_plain(raw):
            self.plain(raw["role"], raw["content"], at)  # most items
            return
        kind = raw.get("type") or ("message" if "role" in raw else "item_reference")
        if kind == "message":
            self._message(raw, at)
        elif kind == "reasoning" and (seal := carried(raw.get("encrypted_content"))) is not None:
            self._unpack(raw, seal, at)
        elif (read := _ITEMS.get(kind)) is not None:
            self._spoken([read(raw, at)], at)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._close()
            self.messages.append(Message(role="tool", parts=(_result(raw, at),), at=at))
        elif kind == "item_reference":
            raise UnsupportedParameter(f"{at}: the target does not hold this item; send the item itself", param=at)
        else:
            self._opaque(opaque_item(raw, at), at)

    def end(self) -> tuple[Message, ...]:
        self._close()
        if self._held:
            last = self.messages[-1] if self.messages else None
            if last is None or last.role == "tool":
                self.messages.append(Message(role="assistant", parts=tuple(self._held), at=self._held[0].at))
            else:
                self.messages[-1] = msgspec.structs.replace(last, parts=(*last.parts, *self._held))
        return tuple(self.messages)

    def _message(self, raw: Object, at: str) -> None:
        parts = read_message(raw, at)
        role = raw["role"]
        if role == "assistant":
            self._spoken(parts, at)
            return
        self._close()
        held, self._held = self._held, []
        self.messages.append(Message(role="user" if role == "user" else "system", parts=(*held, *parts), at=at))

    def plain(self, role: str, text: str, at: str) -> None:
        """A role and one text: what `_message` does with it."""
        part = Text(text=text, form=_FORMS[role], at=f"{at}.content")
        if role == "assistant":
            if not self._turn:
                self._at = at
                self._turn, self._held = self._held, []
            self._turn.append(part)
            return
        if self._turn:
            self._close()
        parts: tuple[AnyPart, ...] = (part,)
        if self._held:
            parts = (*self._held, part)
            self._held = []
        self.messages.append(Message(role="user" if role == "user" else "system", parts=parts, at=at))

    def _spoken(self, parts: Sequence[AnyPart], at: str) -> None:
        """More of the model's turn."""
        if not self._turn:
            self._at = at
            self._turn, self._held = self._held, []
        for part in parts:
            if isinstance(part, ToolCall) and part.id in self._seals:
                part = msgspec.structs.replace(part, seal=_seal(self._seals.pop(part.id), part.at))
            self._turn.append(part)

    def _opaque(self, part: AnyPart, at: str) -> None:
        """What only this dialect knows; it must not make a turn of its own where the caller brought it."""
        kind = part.kind if isinstance(part, Opaque) else ""
        if self._turn or not (kind.endswith("_output") or kind in _BROUGHT):
            self._spoken([part], at)
        elif self.messages and (last := self.messages[-1]).role in ("user", "system"):
            self.messages[-1] = msgspec.structs.replace(last, parts=(*last.parts, part))
        else:
            self._held.append(part)

    def _close(self) -> None:
        if self._turn:
            for call, seal in self._seals.items():
                self._turn.append(Reasoning(redacted=True, seal=_seal(seal, self._at), at=f"{self._at}.{call}"))
            self._seals.clear()
            self.messages.append(Message(role="assistant", parts=tuple(self._turn), at=self._at))
            self._turn = []

    # ── signatures of others ───────────────────────────────────────────────────────

    def _unpack(self, raw: Object, seal: Carried, at: str) -> None:
        """A signature that travelled in an item of ours goes back to the part that it was on."""
        at += ".encrypted_content"
        if seal.kind == "call":
            self._sign_call(seal, at)
        elif seal.kind == "text":
            self._sign_text(seal, at)
        else:
            text = reasoning_text(raw)
            self._spoken([Reasoning(text=text, redacted=not text, seal=_seal(seal, at), at=at)], at)

    def _sign_call(self, seal: Carried, at: str) -> None:
        for i, part in enumerate(self._turn):
            if isinstance(part, ToolCall) and part.id == seal.of:
                self._turn[i] = msgspec.structs.replace(part, seal=_seal(seal, at))
                return
        self._seals[str(seal.of)] = seal

    def _sign_text(self, seal: Carried, at: str) -> None:
        """A text that was signed in its last piece only is taken apart there again: clients join the pieces."""
        length = seal.of if isinstance(seal.of, int) else 0
        number = next((i for i in reversed(range(len(self._turn))) if isinstance(self._turn[i], Text)), -1)
        text = self._turn[number] if number >= 0 else None
        if not length or not isinstance(text, Text) or len(text.text) < length:
            self._spoken([Text(text="", seal=_seal(seal, at), at=at)], at)
        elif len(text.text) == length:
            self._turn[number] = msgspec.structs.replace(text, seal=_seal(seal, at))
        else:
            cut = len(text.text) - length
            first = msgspec.structs.replace(text, text=text.text[:cut])
            rest = Text(text=text.text[cut:], seal=_seal(seal, at), at=text.at)
            self._turn[number : number + 1] = [first, rest]


def _seal(seal: Carried, at: str) -> Seal:
    return Seal(value=seal.value, origin=seal.origin, at=at)


# ── messages ───────────────────────────────────────────────────────────────────────────


def read_message(raw: Object, at: str) -> list[AnyPart]:
    """The parts of a message item; the first one knows the item."""
    rest = dict(raw)
    kind, role, content = rest.pop("type", None), rest.pop("role", "assistant"), rest.pop("content", "")
    if isinstance(content, str):
        parts: list[AnyPart] = [Text(text=content, at=f"{at}.content")]
    else:
        parts = [read_part(one, f"{at}.content[{i}]", role) for i, one in enumerate(content)]
    if not parts:
        parts = [Text(text="", form={"empty": True}, at=f"{at}.content[0]")]
    item = make_form(role=role, type=kind, content="string" if isinstance(content, str) else None)
    parts[0] = begins(parts[0], rest, item)
    return parts


def begins(part: AnyPart, rest: Object, item: Object | None, **form: Json) -> AnyPart:
    """The part as the first of an item, around which `rest` stood."""
    usual = {key: value for key, value in rest.items() if says_nothing(key, value)}
    extra, keep = leftovers({key: value for key, value in rest.items() if key not in usual})
    inner = isinstance(part, Text | Refusal | Media | Opaque)
    spelled = {
        **form_of(part),
        **form,
        "item": {**(item or {}), **usual, **(keep or {})},
        **({"outer": list(extra)} if extra and inner else {}),
    }
    return msgspec.structs.replace(part, extra={**(part.extra or {}), **(extra or {})} or None, form=spelled)


def says_nothing(key: str, value: Json) -> bool:
    """Is it no loss elsewhere: that an item is complete, an id that we made?"""
    return (key == "status" and value == "completed") or (key == "id" and is_made(value))


def read_part(raw: Object, at: str, role: str) -> AnyPart:
    """One part of content."""
    read = _PARTS.get(raw.get("type", ""))
    part = read(raw, at, role) if read is not None else None
    return part if part is not None else opaque_part(raw, at)


def opaque_part(raw: Object, at: str) -> Opaque:
    return Opaque(dialect=NAME, kind=str(raw.get("type", "part")), raw=raw, at=at)


def opaque_item(raw: Object, at: str) -> Opaque:
    return Opaque(dialect=NAME, kind=str(raw.get("type", "item")), raw=raw, form={"item": {}}, at=at)


def _text(raw: Object, at: str, role: str) -> AnyPart | None:
    rest = dict(raw)
    kind = rest.pop("type")
    text = rest.pop("text", None)
    if type(text) is not str:
        return None
    citations = read_citations(rest, at)
    cache, written = take_mark(rest, at)
    extra, keep = leftovers(rest)
    usual = kind == _TYPES.get(role, "input_text")
    form = make_form(type=None if usual else kind, cache=written, keep=keep)
    return Text(text=text, citations=citations, cache=cache, extra=extra, form=form, at=at)


def read_citations(rest: Object, at: str) -> tuple[Citation, ...]:
    """The sources of a text, taken out; an empty list stays as a spelling."""
    annotations = rest.get("annotations")
    if not annotations or not isinstance(annotations, list):
        return ()
    del rest["annotations"]
    return tuple(read_citation(one, f"{at}.annotations") for one in annotations)


def read_citation(raw: Json, at: str = "") -> Citation:
    """One of `annotations`. What is no URL citation is kept whole."""
    if not isinstance(raw, dict) or raw.get("type") != "url_citation" or not isinstance(raw.get("url"), str):
        return Citation(extra={"annotation": raw}, at=at)
    rest = {key: value for key, value in raw.items() if key != "type"}
    values: Object = {}
    for name, key, kind in (
        ("url", "url", str),
        ("title", "title", str),
        ("start", "start_index", int),
        ("end", "end_index", int),
    ):
        if isinstance(rest.get(key), kind):
            values[name] = rest.pop(key)
    return Citation(extra=rest or None, at=at, **values)


def _refusal(raw: Object, at: str, role: str) -> AnyPart | None:
    rest = dict(raw)
    del rest["type"]
    text = rest.pop("refusal", None)
    if type(text) is not str:
        return None
    extra, keep = leftovers(rest)
    return Refusal(text=text, extra=extra, form=make_form(keep=keep), at=at)


def _image(raw: Object, at: str, role: str) -> AnyPart | None:
    rest = dict(raw)
    del rest["type"]
    url, file_id = take_text(rest, "image_url"), None
    if url is None and (file_id := take_text(rest, "file_id")) is None:
        return None
    detail = take_text(rest, "detail")
    media = from_url(url, kind="image", detail=detail) if url else Media(kind="image", file_id=file_id, detail=detail)
    return _finished(media, rest, at)


def _file(raw: Object, at: str, role: str) -> AnyPart | None:
    rest = dict(raw)
    del rest["type"]
    data, url, file_id = take_text(rest, "file_data"), None, None
    if data is None and (url := take_text(rest, "file_url")) is None:
        file_id = take_text(rest, "file_id")
    if not (data or url or file_id):
        return None
    about: Object = {"kind": "file", "name": take_text(rest, "filename"), "detail": take_text(rest, "detail")}
    if data is not None and data.startswith("data:"):
        media = from_url(data, **about)
    elif data is not None:
        media = Media(base64=data, form={"url": data}, **about)
    else:
        media = Media(url=url, file_id=file_id, **about)
    return _finished(media, rest, at)


def _audio(raw: Object, at: str, role: str) -> AnyPart | None:
    """As chat has it; the official types have no sound in a message, some servers do."""
    inner = raw.get("input_audio")
    if not isinstance(inner, dict) or not isinstance(inner.get("data"), str):
        return None
    format_ = inner.get("format")
    return Media(
        kind="audio",
        base64=inner["data"],
        mime_type=f"audio/{format_}" if isinstance(format_, str) else None,
        form={"raw": raw},
        at=at,
    )


def _finished(media: Media, rest: Object, at: str) -> Media:
    cache, written = take_mark(rest, at)
    extra, keep = leftovers(rest)
    form = {**form_of(media), **(make_form(cache=written, keep=keep) or {})}
    return msgspec.structs.replace(media, cache=cache, extra=extra, form=form or None, at=at)


def take_text(rest: Object, key: str) -> str | None:
    """A non-empty string under `key`, taken out; anything else stays where it is."""
    value = rest.get(key)
    if type(value) is str and value:
        del rest[key]
        return value
    return None


_PARTS: Mapping[str, Callable[[Object, str, str], AnyPart | None]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


# ── the other items ────────────────────────────────────────────────────────────────────


def read_call(raw: Object, at: str) -> AnyPart:
    """A call of a function or of a custom tool. `call_id` pairs it with its result; `id` is only the item's."""
    custom = raw.get("type") == "custom_tool_call"
    rest = {key: value for key, value in raw.items() if key not in ("type", "call_id", "name")}
    arguments = rest.pop("input" if custom else "arguments", "")
    call = ToolCall(
        id=raw["call_id"], name=raw["name"], arguments=arguments, kind="custom" if custom else "function", at=at
    )
    return begins(call, rest, None)


def _result(raw: Object, at: str) -> ToolResult:
    rest = dict(raw)
    kind, output = rest.pop("type"), rest.pop("output")
    call_id, name = take_text(rest, "call_id"), take_text(rest, "name")
    if isinstance(output, str):
        parts: list[AnyPart] = [Text(text=output, at=f"{at}.output")]
    else:
        parts = [read_part(one, f"{at}.output[{i}]", "tool") for i, one in enumerate(output)]
    inner = tuple(
        part if isinstance(part, Text | Media | Opaque) else opaque_part(output[i], part.at)
        for i, part in enumerate(parts)
    )
    result = ToolResult(call_id=call_id or "", parts=inner, name=name, invented_id=call_id is None, at=at)
    spelled = make_form(type=kind, output="string" if isinstance(output, str) else None)
    found = begins(result, rest, spelled)
    assert isinstance(found, ToolResult)
    return found


def reasoning_text(raw: Mapping[str, Json]) -> str:
    """What a reasoning item shows: its summary, or the thoughts themselves where a server gives them."""
    found = [*(raw.get("summary") or ()), *(raw.get("content") or ())]
    texts = [one.get("text") for one in found if isinstance(one, dict)]
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)


def read_reasoning(raw: Object, at: str) -> AnyPart:
    """A reasoning item of this dialect's models; one that neither shows nor seals anything is known only to them."""
    text, seal = reasoning_text(raw), seal_of(raw, f"{at}.encrypted_content" if at else "")
    if not text and seal is None:
        return opaque_item(raw, at)
    form = {"item": {}, "raw": raw}
    extra = {**(_beside(raw, _REASONED) or {}), **_beside_texts(raw)} or None
    return Reasoning(text=text, redacted=not text, seal=seal, extra=extra, form=form, at=at)


def _beside_texts(raw: Object) -> Object:
    """What the texts of a reasoning item say beside the text, by the path in it."""
    found: Object = {}
    for key in ("summary", "content"):
        for i, one in enumerate(raw.get(key) or ()):
            if isinstance(one, dict):
                beside = leftovers({name: value for name, value in one.items() if name not in ("type", "text")})[0]
                found |= {f"{key}[{i}].{name}": value for name, value in (beside or {}).items()}
    return found


_REASONED = frozenset({"type", "summary", "content", "encrypted_content"})
_DRAWN = frozenset({"type", "result", "output_format"})


def _beside(raw: Object, known: frozenset[str]) -> Object | None:
    """What else an item says that is kept whole."""
    rest = {key: value for key, value in raw.items() if key not in known and not says_nothing(key, value)}
    return leftovers(rest)[0]


def read_picture(raw: Object, at: str) -> AnyPart:
    """A picture that the model's tool made; one that is not there is known only to this dialect."""
    data = raw.get("result")
    if not isinstance(data, str) or not data:
        return opaque_item(raw, at)
    format_ = raw.get("output_format")
    mime = f"image/{format_ if isinstance(format_, str) else 'png'}"
    form = {"item": {}, "raw": raw}
    return Media(kind="image", base64=data, mime_type=mime, extra=_beside(raw, _DRAWN), form=form, at=at)


_ITEMS: Mapping[str, Callable[[Object, str], AnyPart]] = {
    "function_call": read_call,
    "custom_tool_call": read_call,
    "reasoning": read_reasoning,
    "image_generation_call": read_picture,
}
