"""Content blocks, both ways, for values of this dialect itself: what is read here is written back as it was.

`form` of a part:

    keep       keys that only stood there (null, "", [], {})
    cache      the cache mark as it was written, in a list
    source     a document's source whose text became content of our own (text, content)
    raw        the whole block (search results)
    string     a tool's result that was a string; `absent`: it had no content; `failed`: is_error was false
    signature  how a foreign or a missing signature was written
    citations  an empty list of them, or null
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from providers.canonical.chat import (
    AnyPart,
    Citation,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.dialects.anthropic.words import (
    FAMILY,
    NAME,
    Json,
    Object,
    form_of,
    is_marked,
    leftovers,
    make_form,
    read_citation,
    read_id,
    read_name,
    read_seal,
    restore,
    take_mark,
    told_seal,
    written_id,
)

_encode = msgspec.json.encode


# ── reading ────────────────────────────────────────────────────────────────────────────


def read_block(raw: Json, at: str, arguments: str | None = None) -> AnyPart:
    """A block as a part. `arguments`: the JSON text of a call's input, as it was written.

    Blocks that are not known, or not as they should be, are opaque: they go back as they came.
    """
    if type(raw) is not dict:
        return Opaque(dialect=NAME, kind="block", raw=raw, at=at)
    kind = raw.get("type")
    if kind == "tool_use":
        part: AnyPart | None = _read_call(raw, at, arguments)
    else:
        read = _READ.get(kind) if type(kind) is str else None
        part = read(raw, at) if read is not None else None
    return part if part is not None else _opaque(raw, at)


def _opaque(raw: Object, at: str) -> Opaque:
    return Opaque(dialect=NAME, kind=str(raw.get("type") or "block"), raw=raw, at=at)


def _read_text(raw: Object, at: str) -> AnyPart | None:
    text = raw.get("text")
    if type(text) is not str:
        return None
    if len(raw) == 2:
        return Text(text=text, at=at)
    rest = {key: value for key, value in raw.items() if key not in ("type", "text")}
    cache, written = take_mark(rest, at)
    citations = rest.get("citations")
    cited: tuple[Citation, ...] = ()
    if type(citations) is list and citations:
        del rest["citations"]
        cited = tuple(read_citation(one, f"{at}.citations") for one in citations)
    extra, keep = leftovers(rest)
    return Text(text=text, citations=cited, cache=cache, extra=extra, form=make_form(keep=keep, cache=written), at=at)


def _read_image(raw: Object, at: str) -> AnyPart | None:
    return _read_media(raw, at, "image")


def _read_document(raw: Object, at: str) -> AnyPart | None:
    return _read_media(raw, at, "file")


def _read_media(raw: Object, at: str, kind: str) -> AnyPart | None:
    source = raw.get("source")
    if type(source) is not dict:
        return None
    inner = dict(source)
    found = _located(inner.pop("type", None), inner, kind)
    if found is None:
        return None
    rest = {key: value for key, value in raw.items() if key not in ("type", "source")}
    cache, written = take_mark(rest, at)
    name = rest.pop("title") if kind == "file" and type(rest.get("title")) is str and rest["title"] else None
    extra, keep = leftovers(rest)
    if inner:
        extra = {**(extra or {}), "source": inner}
    where = {"source": f"{at}.source"} if inner else None
    form = make_form(keep=keep, cache=written, source=found.form and found.form["source"], inner=where)
    return msgspec.structs.replace(found, name=name, cache=cache, extra=extra, form=form, at=at)


def _located(kind: Json, inner: Object, media: str) -> Media | None:
    """Where the content is. Takes what it understands out of `inner`; None for what is no place of one content."""
    which: Literal["image", "file"] = "image" if media == "image" else "file"
    if kind == "base64" and type(inner.get("data")) is str:
        mime = inner.pop("media_type", None)
        return Media(kind=which, base64=inner.pop("data"), mime_type=mime if type(mime) is str else None)
    if kind == "url" and type(inner.get("url")) is str:
        return Media(kind=which, url=inner.pop("url"))
    if kind == "file" and type(inner.get("file_id")) is str:
        return Media(kind=which, file_id=inner.pop("file_id"))
    text = _source_text(kind, inner)
    if text is None or media == "image":
        return None
    source = {"type": kind, **inner}
    beyond = _beyond_text(inner.get("content"))
    for key in ("data", "media_type") if kind == "text" else () if beyond else ("content",):
        inner.pop(key, None)
    data = b64encode(text.encode("utf-8", "replace")).decode()
    return Media(kind=which, base64=data, mime_type="text/plain", form={"source": source})


def _beyond_text(content: Json) -> bool:
    """Do blocks of text say more than their text: marks, citations? It is named as lost elsewhere."""
    blocks = content if type(content) is list else ()
    return any(value and key not in ("type", "text") for block in blocks for key, value in block.items())


def _source_text(kind: Json, inner: Object) -> str | None:
    """The text of a source that is text; None for one that holds images, too."""
    if kind == "text" and type(inner.get("data")) is str:
        return str(inner["data"])
    content = inner.get("content") if kind == "content" else None
    if type(content) is str:
        return content
    if type(content) is not list or not content:
        return None
    texts = [block.get("text") for block in content if type(block) is dict and block.get("type") == "text"]
    if len(texts) < len(content) or not all(type(text) is str for text in texts):
        return None
    return "\n\n".join(map(str, texts))


def _read_search_result(raw: Object, at: str) -> AnyPart | None:
    """What the caller's own search found: its text counts everywhere, where it came from is named as lost elsewhere."""
    content = raw.get("content")
    if type(content) is not list:
        return None
    texts = [block["text"] for block in content if type(block) is dict and type(block.get("text")) is str]
    if len(texts) < len(content):
        return None
    known = ("type",) if _beyond_text(content) else ("type", "content")
    rest = {key: value for key, value in raw.items() if key not in known}
    cache, _ = take_mark(rest, at)
    return Text(text="\n\n".join(texts), cache=cache, extra=rest or None, form={"raw": raw}, at=at)


def _read_thinking(raw: Object, at: str) -> AnyPart | None:
    text, signature = raw.get("thinking"), raw.get("signature")
    if type(text) is not str:
        return None
    seal = read_seal(signature, f"{at}.signature") if type(signature) is str else None
    rest = {key: value for key, value in raw.items() if key not in ("type", "thinking", "signature")}
    cache, written = take_mark(rest, at)
    extra, keep = leftovers(rest)
    spelled = [signature] if (seal is None or seal.origin != FAMILY) and "signature" in raw else None
    form = make_form(keep=keep, cache=written, signature=spelled)
    return Reasoning(text=text, seal=seal, cache=cache, extra=extra, form=form, at=at)


def _read_redacted(raw: Object, at: str) -> AnyPart | None:
    if type(raw.get("data")) is not str:
        return None
    seal = read_seal(raw["data"], f"{at}.data")
    extra, keep = leftovers({key: value for key, value in raw.items() if key not in ("type", "data")})
    spelled = None if seal is not None and seal.origin == FAMILY else [raw["data"]]
    return Reasoning(redacted=True, seal=seal, extra=extra, form=make_form(keep=keep, signature=spelled), at=at)


def _read_call(raw: Object, at: str, arguments: str | None) -> AnyPart | None:
    identifier, name = raw.get("id"), raw.get("name")
    if type(identifier) is not str or type(name) is not str:
        return None
    if arguments is None:
        given = raw.get("input")
        arguments = _encode(given).decode() if given is not None else ""
    rest = {key: value for key, value in raw.items() if key not in ("type", "id", "name", "input")}
    cache, written = take_mark(rest, at)
    seal = None
    if is_marked(rest.get("signature")):
        seal = read_seal(rest.pop("signature"), f"{at}.signature")
    extra, keep = leftovers(rest)
    return ToolCall(
        id=read_id(identifier),
        name=read_name(name),
        arguments=arguments,
        seal=seal,
        cache=cache,
        extra=extra,
        form=make_form(keep=keep, cache=written, name=name if read_name(name) != name else None),
        at=at,
    )


def _read_result(raw: Object, at: str) -> AnyPart | None:
    call_id, content = raw.get("tool_use_id"), raw.get("content")
    if type(call_id) is not str:
        return None
    parts: tuple[Text | Media | Opaque, ...] = ()
    if type(content) is str:
        parts = (Text(text=content, at=f"{at}.content"),)
    elif type(content) is list:
        parts = tuple(_read_inner(block, f"{at}.content[{i}]") for i, block in enumerate(content))
    rest = {key: value for key, value in raw.items() if key not in ("type", "tool_use_id", "content", "is_error")}
    cache, written = take_mark(rest, at)
    extra, keep = leftovers(rest)
    failed = raw.get("is_error")
    form = make_form(
        keep=keep,
        cache=written,
        string=type(content) is str,
        absent="content" not in raw,
        null="content" in raw and content is None,
        failed=[failed] if "is_error" in raw and failed is not True else None,
    )
    return ToolResult(
        call_id=read_id(call_id), parts=parts, is_error=failed is True, cache=cache, extra=extra, form=form, at=at
    )


def _read_inner(raw: Json, at: str) -> Text | Media | Opaque:
    part = read_block(raw, at)
    if isinstance(part, Text | Media | Opaque):
        return part
    return Opaque(dialect=NAME, kind=str(raw.get("type")), raw=raw, at=at)


_READ: Mapping[str, Callable[[Object, str], AnyPart | None]] = {
    "text": _read_text,
    "image": _read_image,
    "document": _read_document,
    "search_result": _read_search_result,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_result": _read_result,
}


# ── writing ────────────────────────────────────────────────────────────────────────────


def write_block(part: AnyPart) -> Object:
    """A part that this dialect has read, as it was."""
    return _WRITE[type(part)](part)


def _finished(out: Object, part: AnyPart) -> Object:
    form = form_of(part)
    if "cache" in form:
        out["cache_control"] = form["cache"][0]
    out.update(part.extra or {})
    return restore(out, form)


def _write_text(part: Text) -> Object:
    form = form_of(part)
    if "raw" in form:
        kept: Object = form["raw"]
        return dict(kept)
    out: Object = {"type": "text", "text": part.text}
    if part.citations:
        out["citations"] = [(one.extra or {}).get("citation") for one in part.citations]
    return _finished(out, part)


def _write_media(part: Media) -> Object:
    form = form_of(part)
    beside = dict(part.extra or {})
    more: Object = beside.pop("source", {})
    source: Object = form.get("source") or {**source_of(part), **more}
    out: Object = {"type": "image" if part.kind == "image" else "document", "source": source}
    if part.name is not None:
        out["title"] = part.name
    return _finished(out, msgspec.structs.replace(part, extra=beside or None))


def source_of(part: Media) -> Object:
    """The `source` of an image or a document."""
    if part.base64 is not None:
        mime = {} if part.mime_type is None else {"media_type": part.mime_type}
        return {"type": "base64", **mime, "data": part.base64}
    if part.url is not None:
        return {"type": "url", "url": part.url}
    return {"type": "file", "file_id": part.file_id}


def _write_reasoning(part: Reasoning) -> Object:
    spelled = form_of(part).get("signature")
    signature = spelled[0] if spelled else part.seal.value if part.seal is not None else None
    if part.redacted:
        return _finished({"type": "redacted_thinking", "data": signature}, part)
    return _finished({"type": "thinking", "thinking": part.text, "signature": signature or ""}, part)


def _write_call(part: ToolCall) -> Object:
    arguments = part.arguments.strip()
    out: Object = {
        "type": "tool_use",
        "id": written_id(part.id),
        "name": form_of(part).get("name") or part.name,
        "input": msgspec.Raw(arguments.encode()) if arguments else {},
    }
    if part.seal is not None:
        out["signature"] = told_seal(part.seal)
    return _finished(out, part)


def _write_result(part: ToolResult) -> Object:
    form = form_of(part)
    out: Object = {"type": "tool_result", "tool_use_id": written_id(part.call_id)}
    if form.get("string"):
        out["content"] = "".join(inner.text for inner in part.parts if isinstance(inner, Text))
    elif form.get("null"):
        out["content"] = None
    elif not form.get("absent"):
        out["content"] = [write_block(inner) for inner in part.parts]
    if part.is_error:
        out["is_error"] = True
    elif "failed" in form:
        out["is_error"] = form["failed"][0]
    return _finished(out, part)


def _write_opaque(part: Opaque) -> Object:
    kept: Object = part.raw
    return kept


def _write_refusal(part: Refusal) -> Object:
    return {"type": "text", "text": part.text}


_WRITE: Mapping[type, Callable[..., Object]] = {
    Text: _write_text,
    Media: _write_media,
    Reasoning: _write_reasoning,
    ToolCall: _write_call,
    ToolResult: _write_result,
    Opaque: _write_opaque,
    Refusal: _write_refusal,
}


# ── arguments as they were written ─────────────────────────────────────────────────────


class _RawBlock(msgspec.Struct):
    input: msgspec.Raw = msgspec.Raw()


class _RawMessage(msgspec.Struct):
    content: str | list[_RawBlock] | None = None


_read_messages = msgspec.json.Decoder(list[_RawMessage]).decode
_read_answer = msgspec.json.Decoder(_RawMessage).decode


def raw_inputs(data: bytes, *, answer: bool = False) -> list[list[str | None]]:
    """The JSON text of each block's `input`, by message and block; empty where there is none or it is damaged."""
    if b'"input"' not in data or (answer and (b"\\ud" in data or b"\\uD" in data)):
        return []
    try:
        messages = [_read_answer(data)] if answer else _read_messages(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []
    return [[_text(block.input) for block in one.content] if type(one.content) is list else [] for one in messages]


def _text(raw: msgspec.Raw) -> str | None:
    data = bytes(raw)
    return msgspec.json.format(data, indent=-1).decode() if data else None


def raw_input(found: list[list[str | None]], outer: int, inner: int) -> str | None:
    if outer < len(found) and inner < len(found[outer]):
        return found[outer][inner]
    return None
