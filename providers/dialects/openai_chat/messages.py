"""Messages and their parts, both ways.

Reading keeps the spelling in `form`, so that this dialect's own requests and answers come out as they went in:

    role       `developer` or `function`, where canonical says `system` or `tool`
    content    `list`, `null` or `absent`; one text is a string otherwise
    keep       keys that only stood there (null, "", [], {})
    key        under which name reasoning stood
    cache      cache marks, as they were written
    legacy     function_call and role `function` from before tools
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from providers.canonical.chat import (
    AnyPart,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.loss import join
from providers.canonical.turns import Places, as_talk
from providers.dialects._openai.values import Json, Object, from_url, leftovers, make_form, take_mark

from .check import Plain
from .details import details_text, seal_of
from .words import NAME, read_citation, take_seal

_encode = msgspec.json.encode
_ABSENT: Any = object()
_PLACES = Places("messages", "content")
_SPEAKERS = ("user", "assistant", "system")
_REASONING = ("reasoning_content", "reasoning")


def read_messages(raws: Sequence[Object]) -> tuple[Message, ...]:
    """The messages of a request that `check` has accepted."""
    legacy: dict[str, str] = {}
    return tuple([_plain(raw, i) or _message(raw, f"messages[{i}]", i, legacy) for i, raw in enumerate(raws)])


def read_usual(plain: Sequence[Plain]) -> tuple[Message, ...]:
    """The messages of a usual request."""
    roles: list[Role] = [one.role for one in plain]
    texts = [one.content for one in plain]
    return as_talk(_PLACES.messages(roles, texts), roles, texts)


def _plain(raw: Object, number: int) -> Message | None:
    """Most messages among others: a role and a text. None for any other."""
    role, content = raw["role"], raw.get("content")
    if len(raw) != 2 or type(content) is not str or role not in _SPEAKERS:
        return None
    at, inside = _PLACES.of(number)
    return Message(role=role, parts=(Text(text=content, at=inside),), at=at)


def _message(raw: Object, at: str, number: int, legacy: dict[str, str]) -> Message:
    role = raw["role"]
    if role == "assistant":
        return _assistant(raw, at, number, legacy)
    if role in ("tool", "function"):
        return _result(raw, at, legacy)
    rest = dict(raw)
    del rest["role"]
    parts, content = read_content(rest.pop("content", _ABSENT), at + ".content")
    name = _take_text(rest, "name")
    extra, keep = leftovers(rest)
    developer = role if role == "developer" else None
    form = make_form(role=developer, content=content, keep=keep)
    return Message(role="user" if role == "user" else "system", parts=parts, name=name, extra=extra, form=form, at=at)


def _assistant(raw: Object, at: str, number: int, legacy: dict[str, str]) -> Message:
    rest = dict(raw)
    del rest["role"]
    call = rest.get("function_call")
    if isinstance(call, dict) and call.get("name"):
        legacy[str(call["name"])] = f"call_{number}"
    cited = bool(rest.get("annotations"))
    parts, content = read_spoken(rest, at, f"call_{number}")
    if cited:
        parts = tuple(_cited(part, at + ".annotations") for part in parts)
    name = _take_text(rest, "name")
    extra, keep = leftovers(rest)
    return Message(
        role="assistant", parts=parts, name=name, extra=extra, form=make_form(content=content, keep=keep), at=at
    )


def _cited(part: AnyPart, at: str) -> AnyPart:
    """The part with the place of its citations, so that the loss of them can be named."""
    if not isinstance(part, Text) or not part.citations:
        return part
    return msgspec.structs.replace(part, citations=tuple(msgspec.structs.replace(one, at=at) for one in part.citations))


def _result(raw: Object, at: str, legacy: dict[str, str]) -> Message:
    rest = dict(raw)
    role = rest.pop("role")
    said = rest.pop("content", _ABSENT)
    parts, content = read_content(said, at + ".content")
    inner = tuple(
        part if isinstance(part, Text | Media | Opaque) else _opaque(said[i], part.at) for i, part in enumerate(parts)
    )
    name = _take_text(rest, "name")
    call_id = _take_text(rest, "tool_call_id") or legacy.get(name or "") or f"call_{name or 'unknown'}"
    extra, keep = leftovers(rest)
    invented = raw.get("tool_call_id") != call_id
    result = ToolResult(call_id=call_id, parts=inner, name=name, invented_id=invented, at=at)
    form = make_form(role=role if role == "function" else None, content=content, keep=keep)
    return Message(role="tool", parts=(result,), extra=extra, form=form, at=at)


def _take_text(rest: Object, key: str) -> str | None:
    """A non-empty string under `key`, taken out; anything else stays where it is."""
    value = rest.get(key)
    if type(value) is str and value:
        del rest[key]
        return value
    return None


# ── content ────────────────────────────────────────────────────────────────────────────


def read_content(value: Json, at: str) -> tuple[tuple[AnyPart, ...], str | None]:
    """The parts of `content`, and how it was written (None: as a string)."""
    if type(value) is str:
        return (Text(text=value, at=at),), None
    if type(value) is list:
        return tuple(_part(raw, f"{at}[{i}]") for i, raw in enumerate(value)), "list"
    return (), "absent" if value is _ABSENT else "null"


def _part(raw: Object, at: str) -> AnyPart:
    read = _PARTS.get(raw.get("type", ""))
    part = read(raw, at) if read is not None else None
    return part if part is not None else _opaque(raw, at)


def _opaque(raw: Object, at: str) -> Opaque:
    return Opaque(dialect=NAME, kind=str(raw.get("type", "part")), raw=raw, at=at)


def _text(raw: Object, at: str) -> AnyPart | None:
    rest = dict(raw)
    del rest["type"]
    text = rest.pop("text", None)
    if type(text) is not str:
        return None
    if not rest:
        return Text(text=text, at=at)
    cache, written = take_mark(rest, at)
    extra, keep = leftovers(rest)
    return Text(text=text, cache=cache, extra=extra, form=make_form(cache=written, keep=keep), at=at)


def _refusal(raw: Object, at: str) -> AnyPart | None:
    rest = dict(raw)
    del rest["type"]
    text = rest.pop("refusal", None)
    if type(text) is not str:
        return None
    extra, keep = leftovers(rest)
    return Refusal(text=text, extra=extra, form=make_form(content=True, keep=keep), at=at)


def _url(raw: Object, at: str) -> AnyPart | None:
    """image_url, video_url: an object with `url`, or (some servers) the URL itself."""
    kind = raw["type"]
    inner = raw.get(kind)
    bare = type(inner) is str
    rest = {"url": inner} if bare else dict(inner) if type(inner) is dict else {}
    url = rest.pop("url", None)
    if type(url) is not str:
        return None
    media = from_url(url, kind="video" if kind == "video_url" else "image", detail=_take_text(rest, "detail"))
    return _finished(media, raw, kind, rest, at, bare=bare)


def _input_audio(raw: Object, at: str) -> AnyPart | None:
    inner = raw.get("input_audio")
    if type(inner) is not dict or type(inner.get("data")) is not str:
        return None
    rest = dict(inner)
    data, format_ = rest.pop("data"), _take_text(rest, "format")
    media = Media(kind="audio", base64=data, mime_type=f"audio/{format_}" if format_ else None)
    return _finished(media, raw, "input_audio", rest, at)


def _file(raw: Object, at: str) -> AnyPart | None:
    inner = raw.get("file")
    if type(inner) is not dict:
        return None
    rest = dict(inner)
    name = _take_text(rest, "filename")
    data = _take_text(rest, "file_data")
    if data is None:
        file_id = _take_text(rest, "file_id")
        if file_id is None:
            return None
        return _finished(Media(kind="file", file_id=file_id, name=name), raw, "file", rest, at)
    if data.startswith(("data:", "http://", "https://")):
        return _finished(from_url(data, kind="file", name=name), raw, "file", rest, at)
    media = Media(kind="file", base64=data, name=name, form={"url": data})
    return _finished(media, raw, "file", rest, at)


def _finished(media: Media, raw: Object, key: str, inner: Object, at: str, *, bare: bool = False) -> Media:
    """The part with what stood around the known fields: inside the inner object and beside it."""
    around = {name: value for name, value in raw.items() if name not in ("type", key)}
    if not inner and not around and not bare:
        return msgspec.structs.replace(media, at=f"{at}.{key}")
    cache, written = take_mark(around, at)
    extra, keep = leftovers(inner)
    outer, beside = leftovers(around)
    form = make_form(cache=written, keep=keep, beside=beside, outer=list(outer or ()), bare=bare)
    return msgspec.structs.replace(
        media,
        at=f"{at}.{key}",
        cache=cache,
        extra={**(outer or {}), **(extra or {})} or None,
        form={**(media.form or {}), **(form or {})} or None,
    )


def _thinking(raw: Object, at: str) -> AnyPart | None:
    """A thinking chunk in content, as Mistral writes it."""
    inner = raw.get("thinking")
    if type(inner) is str:
        return Reasoning(text=inner, form={"raw": raw}, at=at)
    if type(inner) is not list or not all(type(chunk) is dict for chunk in inner):
        return None
    text = "".join(chunk["text"] for chunk in inner if type(chunk.get("text")) is str)
    return Reasoning(text=text, form={"raw": raw}, at=at)


_PARTS = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _url,
    "video_url": _url,
    "input_audio": _input_audio,
    "file": _file,
    "thinking": _thinking,
}


# ── what an assistant said ─────────────────────────────────────────────────────────────


def read_spoken(rest: Object, at: str, fallback_id: str) -> tuple[tuple[AnyPart, ...], str | None]:
    """The parts of an assistant's message, in a request or an answer. Takes what it understands out of `rest`.

    `fallback_id` names calls that came without an id.
    """
    parts: list[AnyPart] = []
    _read_reasoning(rest, at, parts)
    spoken, content = read_content(rest.pop("content", _ABSENT), at + ".content")
    annotations, seal = rest.get("annotations"), take_seal(rest)
    if annotations and type(annotations) is list:
        del rest["annotations"]
        spoken = _annotated(spoken, annotations, at)
    if seal is not None:
        spoken = _sealed(spoken, seal, at)
    parts += spoken
    refusal = _take_text(rest, "refusal")
    if refusal is not None:
        parts.append(Refusal(text=refusal, at=at + ".refusal"))
    _read_images(rest, at, parts)
    _read_audio(rest, at, parts)
    calls = rest.get("tool_calls")
    if calls and type(calls) is list:
        del rest["tool_calls"]
        parts += [read_call(call, f"{at}.tool_calls[{i}]", f"{fallback_id}_{i}") for i, call in enumerate(calls)]
    legacy = rest.get("function_call")
    if type(legacy) is dict and legacy.get("name"):
        del rest["function_call"]
        if any(_is_the_same(call, legacy) for call in calls or ()):
            return tuple(parts), content
        raw = {"type": "function", "function": legacy}
        call = read_call(raw, at, fallback_id)
        form = {**(call.form or {}), "legacy": True}
        if "inner" in form:
            form["inner"] = {"function": at + ".function_call"}
        parts.append(msgspec.structs.replace(call, at=at + ".function_call", form=form))
    return tuple(parts), content


def _is_the_same(call: Json, legacy: Object) -> bool:
    """Some servers (llama-cpp-python) say a call in both forms, for clients of either age."""
    return type(call) is dict and call.get("function") == legacy


def _read_reasoning(rest: Object, at: str, parts: list[AnyPart]) -> None:
    """Thinking beside the content: DeepSeek's name or OpenRouter's, the same text under both where both are there."""
    details = rest.get("reasoning_details")
    if type(details) is not list:
        details = None
    named = {key: rest[key] for key in _REASONING if type(rest.get(key)) is str and rest[key]}
    if not named and not details:
        return
    key = next(iter(named), "reasoning_details")
    text = named.get(key) or details_text(details)
    also = [other for other in named if other != key and named[other] == text]
    for taken in (key, *also, *(["reasoning_details"] if details else ())):
        rest.pop(taken, None)
    seal = seal_of(details, f"{at}.reasoning_details")
    form = make_form(key=key, also=also, details=details)
    parts.append(Reasoning(text=text, redacted=seal is not None and not text, seal=seal, form=form, at=f"{at}.{key}"))


def _annotated(spoken: tuple[AnyPart, ...], annotations: list[Json], at: str) -> tuple[AnyPart, ...]:
    citations = tuple(read_citation(raw) for raw in annotations)
    for i in reversed(range(len(spoken))):
        part = spoken[i]
        if isinstance(part, Text):
            return (*spoken[:i], msgspec.structs.replace(part, citations=citations), *spoken[i + 1 :])
    return (*spoken, Text(text="", citations=citations, at=at + ".annotations"))


def _sealed(spoken: tuple[AnyPart, ...], seal: Any, at: str) -> tuple[AnyPart, ...]:
    """A signature of the message belongs to its last text, or to an empty one of its own, as Gemini sends it."""
    if spoken and isinstance(spoken[-1], Text):
        return (*spoken[:-1], msgspec.structs.replace(spoken[-1], seal=seal))
    return (*spoken, Text(text="", seal=seal, at=at + ".extra_content"))


def _read_images(rest: Object, at: str, parts: list[AnyPart]) -> None:
    """Pictures that the model made, as OpenRouter sends them."""
    images = rest.get("images")
    if not images or type(images) is not list:
        return
    found = [read_image(raw, f"{at}.images[{i}]") for i, raw in enumerate(images)]
    if all(image is not None for image in found):
        del rest["images"]
        parts += [image for image in found if image is not None]


def read_image(raw: Json, at: str) -> AnyPart | None:
    if type(raw) is not dict:
        return None
    return _url({**raw, "type": "image_url"}, at)


def _read_audio(rest: Object, at: str, parts: list[AnyPart]) -> None:
    """A spoken answer, or the reference to an earlier one (`{"id"}`)."""
    audio = rest.get("audio")
    if type(audio) is not dict or not (audio.get("data") or audio.get("id")):
        return
    del rest["audio"]
    parts.append(read_audio(audio, at + ".audio"))


def read_audio(audio: Object, at: str) -> Media:
    left = dict(audio)
    data, transcript = _take_text(left, "data"), _take_text(left, "transcript")
    file_id = _take_text(left, "id") if data is None else None
    extra, keep = leftovers(left)
    return Media(
        kind="audio",
        mime_type=sound_type(data) if data else None,
        base64=data,
        file_id=file_id,
        transcript=transcript,
        extra=extra,
        form=make_form(keep=keep),
        at=at,
    )


#: How sounds begin, in base64: files by their heads, frames of MPEG and of AAC by their first twelve bits and layer.
_SOUNDS = {"UklGR": "audio/wav", "SUQz": "audio/mpeg", "T2dnU": "audio/ogg", "ZkxhQ": "audio/flac"}
_SOUNDS |= {f"//{layer}": "audio/mpeg" for layer in "IJKLMNOPopqrstuv"}
_SOUNDS |= {f"//{layer}": "audio/aac" for layer in "EFGHklmn"}


def sound_type(base64: str) -> str:
    """The type of a sound that the model made, which answers do not say: by its first bytes. What has no head is
    `pcm16`, the only form of streams: 24,000 samples a second, mono. It has the name that Google's models give it.
    """
    found = (mime for begin, mime in _SOUNDS.items() if base64.startswith(begin))
    return next(found, "audio/L16;codec=pcm;rate=24000")


def read_call(raw: Object, at: str, fallback_id: str) -> ToolCall:
    """One of `tool_calls`. Arguments that came as an object (Ollama) are written as JSON text."""
    rest = dict(raw)
    rest.pop("index", None)
    call_id = _take_text(rest, "id")
    kind = rest.pop("type", None)
    custom = kind == "custom" or (kind is None and "custom" in rest)
    container = "custom" if custom else "function"
    inner = dict(rest.pop(container))
    name = inner.pop("name", None)
    arguments = inner.pop("input" if custom else "arguments", None)
    seal = take_seal(rest)
    extra, keep = leftovers(rest)
    inside, inside_keep = leftovers(inner)
    if inside:
        extra = {**(extra or {}), "function": inside}
    spelled = make_form(
        keep=keep,
        inside=inside_keep,
        inner={"function": join(at, container)} if inside else None,
        kind=None if kind else "absent",
        index=[raw["index"]] if "index" in raw else None,
        arguments=None if type(arguments) is str else [arguments],
    )
    return ToolCall(
        id=call_id or fallback_id,
        name=name if type(name) is str else "",
        arguments=arguments_text(arguments),
        kind="custom" if custom else "function",
        invented_id=call_id is None,
        seal=seal,
        extra=extra,
        form=spelled,
        at=at,
    )


def arguments_text(arguments: Json) -> str:
    if type(arguments) is str:
        return arguments
    return "" if arguments is None else _encode(arguments).decode()


def form_of(value: Any) -> Mapping[str, Json]:
    return value.form or {}
