"""The output of an answer, both ways: items to parts, parts to items. `stream_out` writes the same items in pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from providers.canonical.chat import (
    AnyPart,
    Logprobs,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    TokenLogprob,
    ToolCall,
)
from providers.canonical.loss import Losses, dropped, lose_part
from providers.dialects._openai.values import Json, Object, read_token, restore, write_token
from providers.dialects.unread import lose_weights
from providers.wire.json import encode

from .items import form_of, opaque_item, read_call, read_message, read_picture, read_reasoning
from .words import FAMILY, NAME, carry, digest, made_id, sealed_item
from .written import write_citation

# ── reading ────────────────────────────────────────────────────────────────────────────


def read_output(items: Sequence[Json]) -> tuple[tuple[AnyPart, ...], Logprobs | None]:
    """The parts of an answer, and the log probabilities of all its texts together."""
    parts: list[AnyPart] = []
    tokens: list[TokenLogprob] = []
    for i, raw in enumerate(items):
        found = read_item(raw, f"output[{i}]", i)
        tokens += [token for part in found for token in _tokens(part)]
        parts += found
    return tuple(parts), Logprobs(content=tuple(tokens)) if tokens else None


def read_item(raw: Object, at: str, number: int) -> list[AnyPart]:
    """The parts of one item; `number` names calls that came without an id."""
    kind = raw.get("type")
    if kind == "message":
        return read_message(raw, at)
    if kind in ("function_call", "custom_tool_call"):
        return [read_made_call(raw, at, number)]
    if kind == "reasoning":
        return [read_reasoning(raw, at)]
    if kind == "image_generation_call":
        return [read_picture(raw, at)]
    return [opaque_item(raw, at)]


def read_made_call(raw: Object, at: str, number: int) -> ToolCall:
    """A call of an answer, which may come without an id, and with its arguments as an object."""
    given, key = raw.get("call_id"), "input" if raw.get("type") == "custom_tool_call" else "arguments"
    call_id = given if isinstance(given, str) and given else fallback_call_id(raw, number)
    said = raw.get(key)
    text = said if isinstance(said, str) else "" if said is None else encode(said).decode()
    if not isinstance(raw.get("name"), str) or not raw["name"]:
        raise TypeError("a call without a name")
    call = read_call({**raw, "call_id": call_id, key: text}, at)
    assert isinstance(call, ToolCall)
    return msgspec.structs.replace(call, invented_id=call_id != given)


def fallback_call_id(raw: Mapping[str, Json], number: int) -> str:
    """The item's own id where there is one, else one that is the same for the same answer."""
    identifier = raw.get("id")
    return identifier if isinstance(identifier, str) and identifier else f"call_{digest(str(number))}"


def _tokens(part: AnyPart) -> list[TokenLogprob]:
    raws = (part.extra or {}).get("logprobs") if isinstance(part, Text) else None
    return read_tokens(raws)


def read_tokens(raws: Json) -> list[TokenLogprob]:
    return [read_token(raw) for raw in raws] if isinstance(raws, list) else []


# ── writing ────────────────────────────────────────────────────────────────────────────


def write_tokens(logprobs: Logprobs | None) -> list[Object]:
    return [] if logprobs is None else [write_token(token) for token in logprobs.content or ()]


def message_item(identifier: str, content: Sequence[Object], status: str = "completed") -> Object:
    return {"id": identifier, "type": "message", "status": status, "role": "assistant", "content": list(content)}


def text_part(text: str, annotations: Sequence[Object] = (), logprobs: Sequence[Object] = ()) -> Object:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": list(logprobs)}


def reasoning_item(identifier: str, text: str, seal: Seal | None) -> Object:
    """What another model thought: as a summary, for that is what callers of this dialect show."""
    out: Object = {"id": identifier, "type": "reasoning", "summary": summary(text)}
    if seal is not None:
        out["encrypted_content"] = carry(seal, "self")
    return out


def summary(text: str) -> list[Object]:
    return [{"type": "summary_text", "text": text}] if text else []


def carrier_item(identifier: str, seal: Seal, part: ToolCall | Text) -> Object:
    """The signature of the call or text before it."""
    carried = carry(seal, "call", part.id) if isinstance(part, ToolCall) else carry(seal, "text", len(part.text))
    return {"id": identifier, "type": "reasoning", "summary": [], "encrypted_content": carried}


def call_item(identifier: str, call: ToolCall, status: str = "completed") -> Object:
    head: Object = {"id": identifier, "type": "function_call", "status": status}
    head |= {"call_id": call.id, "name": call.name}
    if call.kind == "custom":
        return {**head, "type": "custom_tool_call", "input": call.arguments}
    return {**head, "arguments": call.arguments}


def picture_item(identifier: str, media: Media) -> Object | None:
    """A picture that the model made, as this dialect's own tool gives them; None for other media."""
    if media.kind != "image" or media.base64 is None:
        return None
    out: Object = {"id": identifier, "type": "image_generation_call", "status": "completed", "result": media.base64}
    format_ = (media.mime_type or "").partition("/")[2]
    return out | ({"output_format": format_} if format_ in ("png", "webp", "jpeg", "gif") else {})


def lose_seal(part: Media | Refusal, losses: Losses) -> None:
    if part.seal is not None:
        losses.append(
            dropped("output.signature", f"a signature of {part.seal.origin} on something that is no call and no text")
        )


def annotations_of(part: Text, losses: Losses, own: bool) -> list[Object]:
    """The sources of a text."""
    written = [write_citation(citation, len(part.text), own=own) for citation in part.citations]
    if None in written:
        losses.append(dropped("output.annotations", "a citation without a URL"))
    return [one for one in written if one is not None]


class Output:
    """Builds the items of another dialect's answer, part by part."""

    def __init__(self, seed: str, losses: Losses, logprobs: Logprobs | None = None) -> None:
        self.items: list[Object] = []
        self._seed = seed
        self._losses = losses
        self._logprobs = write_tokens(logprobs)
        if logprobs is not None:
            lose_weights(logprobs, losses, tokens=False)
        self._content: list[Object] | None = None  # of the message that is open

    def add(self, part: AnyPart) -> None:
        match part:
            case Text():
                self._text(part)
            case Refusal():
                self._say({"type": "refusal", "refusal": part.text})
                lose_seal(part, self._losses)
            case Reasoning():
                self._item(reasoning_item(self._id("rs"), part.text, part.seal))
            case ToolCall():
                text = part.arguments if part.arguments or part.kind == "custom" else "{}"
                identifier = self._id("ctc" if part.kind == "custom" else "fc")
                self._item(call_item(identifier, msgspec.structs.replace(part, arguments=text)))
                self._carry(part)
            case Media():
                picture = picture_item(self._id("ig"), part)
                if picture is None:
                    lose_part("output", part, self._losses)
                else:
                    self._item(picture)
                    lose_seal(part, self._losses)
            case Opaque() if part.dialect == NAME:
                self._item(dict(part.raw))
            case _:
                lose_part("output", part, self._losses)

    def _text(self, part: Text) -> None:
        if part.text or part.citations or not _foreign(part.seal):
            self._say(text_part(part.text, annotations_of(part, self._losses, False), self._logprobs))
            self._logprobs = []
        self._carry(part)

    def _say(self, content: Object) -> None:
        """Texts that follow each other stand in one message."""
        if self._content is None:
            item = message_item(self._id("msg"), ())
            self._item(item)
            self._content = item["content"]
        self._content.append(content)

    def _carry(self, part: ToolCall | Text) -> None:
        if part.seal is not None and _foreign(part.seal):
            self._item(carrier_item(self._id("rs"), part.seal, part))

    def _item(self, item: Object) -> None:
        self._content = None
        self.items.append(item)

    def _id(self, prefix: str) -> str:
        return made_id(prefix, self._seed, len(self.items))


def _foreign(seal: Seal | None) -> bool:
    """Is it a signature that needs a carrier? OpenAI's own stands in its reasoning item."""
    return seal is not None and seal.origin != FAMILY


# ── this dialect's own ─────────────────────────────────────────────────────────────────


def own_items(parts: Sequence[AnyPart], seed: str, losses: Losses) -> list[Object]:
    """The items of this dialect's own answer: as they came where they are whole, from their parts in a stream."""
    items: list[Object] = []
    for part in parts:
        form = form_of(part)
        begins = form.get("item")
        if isinstance(part, Opaque) and (begins is None or "role" not in begins) and not _inside(part):
            items.append(dict(part.raw))
        elif isinstance(part, Reasoning | Media) and "raw" in form:
            items.append(dict(form["raw"]))
        elif isinstance(part, ToolCall):
            items.append(_own_call(part, made_id("fc", seed, len(items))))
        elif isinstance(part, Text | Refusal | Opaque):
            if begins is not None or not items or items[-1].get("type") != "message":
                items.append(_own_message(part, made_id("msg", seed, len(items))))
            if not form.get("empty"):
                items[-1]["content"].append(_own_content(part, losses))
        elif isinstance(part, Reasoning):
            identifier = str((part.extra or {}).get("id") or made_id("rs", seed, len(items)))
            items.append(sealed_item(part.seal) or reasoning_item(identifier, part.text, None))
        else:
            lose_part("output", part, losses)
    return items


def _inside(part: Opaque) -> bool:
    """Did it stand in a message's content?"""
    return ".content[" in part.at


def _own_call(part: ToolCall, identifier: str) -> Object:
    spelled = dict(form_of(part).get("item") or {})
    extra = dict(part.extra or {})
    out = call_item(str(extra.pop("id", None) or spelled.pop("id", identifier)), part)
    if part.invented_id:
        del out["call_id"]
    return {**out, **extra, **spelled}


def _own_message(part: AnyPart, identifier: str) -> Object:
    form = form_of(part)
    spelled = {k: v for k, v in (form.get("item") or {}).items() if k not in ("role", "type", "content")}
    outer = {key: value for key, value in (part.extra or {}).items() if key in form.get("outer", ("id", "phase"))}
    return {**message_item(identifier, ()), **outer, **spelled}


def _own_content(part: AnyPart, losses: Losses) -> Object:
    form = form_of(part)
    extra = {k: v for k, v in (part.extra or {}).items() if k not in form.get("outer", ("id", "phase"))}
    if isinstance(part, Opaque):
        return dict(part.raw)
    if isinstance(part, Refusal):
        return restore({"type": "refusal", "refusal": part.text, **extra}, form)
    assert isinstance(part, Text)
    out: Object = {"type": form.get("type", "output_text"), "text": part.text}
    if part.citations or "annotations" not in form.get("keep", {}):
        out["annotations"] = annotations_of(part, losses, True)
    return restore(out | extra, form)
