"""Canonical -> a request. For a request that came in this dialect, the very same body again (see decode.py)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.canonical.chat import ChatRequest, Message, ServerTool, Text, Tool
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, dropped, lose_extras
from providers.dialect import Asked, Traits, WireRequest
from providers.dialects.anthropic.blocks import write_block
from providers.dialects.anthropic.config import encode_config, hold_marks
from providers.dialects.anthropic.decode import PLAIN
from providers.dialects.anthropic.messages import Conversation, shortest
from providers.dialects.anthropic.models import family
from providers.dialects.anthropic.words import (
    HEADERS,
    MARK,
    NAME,
    UNSIGNED,
    VERSION,
    Json,
    Object,
    form_of,
    is_marked,
    restore,
)
from providers.wire.json import encode, splice

#: Body field -> canonical parameter, for losses and refusals that a row's traits cause.
_PARAMETERS: Mapping[str, str] = {
    **PLAIN,
    "stop_sequences": "stop",
    "metadata": "end_user",
    "thinking": "reasoning",
    "output_config": "output_config",
}
_HEADERS = {**HEADERS, "anthropic-version": VERSION}
_ONLY_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control")


def encode_request(request: ChatRequest, losses: Losses, traits: Traits) -> WireRequest:
    """The request as an upstream of this dialect takes it. Losses and refusals name the caller's fields."""
    own = request.dialect == NAME
    body = _own_body(request) if own else _foreign_body(request, losses, traits)
    _apply(traits, body, losses, names=True)
    if request.count and not own:
        body = {key: value for key, value in body.items() if key in _ONLY_COUNTED}
    headers = dict(_HEADERS)
    if own:
        headers |= form_of(request).get("headers", {})
    return WireRequest(path=_path(request.count), headers=headers, body=encode(body))


def _path(count: bool) -> str:
    return "/v1/messages/count_tokens" if count else "/v1/messages"


# ── from this dialect ──────────────────────────────────────────────────────────────────


def _own_body(request: ChatRequest) -> Object:
    form = form_of(request)
    body: Object = {"model": request.model}
    system = [message for message in request.messages if message.role == "system" and not _is_turn(message)]
    turns = [message for message in request.messages if message.role != "system" or _is_turn(message)]
    for message in system:
        body["system"] = _own_system(message, form)
    body["messages"] = [_own_message(message) for message in turns]
    for wire, name in PLAIN.items():
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.tools:
        body["tools"] = [_own_tool(tool) for tool in request.tools]
    if "choice" in form:
        body["tool_choice"] = form["choice"]
    if "thinking" in form:
        body["thinking"] = form["thinking"]
    _own_objects(request, form, body)
    if request.stream:
        body["stream"] = True
    elif "stream" in form:
        body["stream"] = form["stream"][0]
    return body


def _is_turn(message: Message) -> bool:
    """System text within the conversation stands among the messages."""
    return message.at != "system"


def _own_objects(request: ChatRequest, form: Mapping[str, Json], body: Object) -> None:
    """metadata and output_config put together again; everything else of our own as it was."""
    inner: dict[str, Object] = {key: {} for key in form.get("empty", ())}
    if request.end_user is not None:
        inner.setdefault("metadata", {})["user_id"] = request.end_user
    if "effort" in form:
        inner.setdefault("output_config", {})["effort"] = form["effort"]
    if "format" in form:
        older = request.response_format is not None and request.response_format.at == "output_format"
        (body if older else inner.setdefault("output_config", {}))["output_format" if older else "format"] = form[
            "format"
        ]
    for path, value in {**form.get("keep", {}), **(request.extra or {})}.items():
        key, _, name = path.partition(".")
        if name and key in inner:
            inner[key][name] = value
        else:
            body[path] = value
    body.update(inner)


def _own_system(message: Message, form: Mapping[str, Json]) -> Json:
    if form.get("system") == "string":
        return "".join(part.text for part in message.parts if isinstance(part, Text))
    return [write_block(part) for part in message.parts]


def _own_message(message: Message) -> Object:
    form = form_of(message)
    content: Json = [write_block(part) for part in message.parts]
    if form.get("content") == "string":
        content = content[0]["text"]
    out: Object = {"role": "user" if message.role == "tool" else message.role, "content": content}
    out.update(message.extra or {})
    return restore(out, form)


def _own_tool(tool: Tool | ServerTool) -> Object:
    if isinstance(tool, ServerTool):
        return dict(tool.raw)
    form = form_of(tool)
    out: Object = {"type": form["kind"][0]} if "kind" in form else {}
    out["name"] = tool.name
    if tool.description is not None:
        out["description"] = tool.description
    out["input_schema"] = tool.parameters
    if tool.strict is not None:
        out["strict"] = tool.strict
    if "cache" in form:
        out["cache_control"] = form["cache"][0]
    out.update(tool.extra or {})
    return restore(out, form)


# ── from another dialect ───────────────────────────────────────────────────────────────


def _foreign_body(request: ChatRequest, losses: Losses, traits: Traits) -> Object:
    extra = request.extra or {}
    passed = {key: extra[key] for key in extra if key in traits.own}
    if passed:
        left = {key: value for key, value in extra.items() if key not in passed}
        lose_extras(msgspec.structs.replace(request, extra=left or None), NAME, losses)
    else:
        lose_extras(request, NAME, losses)
    model = family(request.model)
    built = Conversation(request, model, losses)
    body: Object = {"model": request.model, "messages": built.messages}
    if built.system:
        body["system"] = built.system  # here, before what is of the model
    encode_config(request, model, built, body, losses)
    if built.system:
        body["system"] = shortest(built.system)
    if built.marks:
        hold_marks(built, losses)
    body.update(passed)
    return body


# ── what the row says of its upstream ──────────────────────────────────────────────────


def _apply(traits: Traits, body: Object, losses: Losses, *, names: bool) -> None:
    """Fields that the upstream ignores are not sent, those that it rejects are refused."""
    if not traits.ignores and not traits.rejects:
        return
    for key in list(body):
        field = _PARAMETERS.get(key, key) if names else key
        if key in traits.rejects and body[key] is not None:
            raise UnsupportedParameter(f"{field}: the target refuses this field", param=field)
        if key in traits.ignores:
            del body[key]
            losses.append(dropped(field, "the target ignores this field"))


# ── the relay lane ─────────────────────────────────────────────────────────────────────


def relay_request(asked: Asked, model: str, losses: Losses, traits: Traits) -> WireRequest:
    """The caller's bytes, with another model where it has one, without what the row ignores, and without the
    signatures that only we could read."""
    replace: Object = {} if model == asked.model else {"model": model}
    drop: set[str] = set()
    if MARK in bytes(asked.top["messages"]):
        replace["messages"] = _without_marked(asked.body["messages"], losses)
    if traits.ignores or traits.rejects:
        body = dict(asked.body)
        _apply(traits, body, losses, names=False)
        drop = asked.body.keys() - body.keys()
    data = asked.wire.body
    if replace or drop:
        kept = {key: value for key, value in replace.items() if key not in drop}
        data = splice(asked.top, kept, frozenset(drop))
    headers = dict(HEADERS)
    if "anthropic-version" not in asked.wire.headers:
        headers["anthropic-version"] = VERSION
    query = {"beta": asked.wire.query["beta"]} if "beta" in asked.wire.query else {}
    return WireRequest(path=_path(asked.task == "count_tokens"), query=query, headers=headers, body=data)


def _without_marked(messages: list[Object], losses: Losses) -> list[Object]:
    """The history without what other families' models left in it: this upstream would refuse it."""
    out: list[Object] = []
    for i, message in enumerate(messages):
        content = message["content"]
        if type(content) is list:
            kept = [
                written
                for j, block in enumerate(content)
                if (written := _unmarked(block, f"messages[{i}].content[{j}]", losses)) is not None
            ]
            if not kept:
                continue
            message = {**message, "content": kept}
        out.append(message)
    return out


def _unmarked(block: Object, at: str, losses: Losses) -> Object | None:
    kind = block["type"]
    if kind == "thinking" and is_marked(block.get("signature")):
        losses.append(dropped(at, "thinking of another model is not sent"))
        return None
    if kind == "redacted_thinking" and is_marked(block.get("data")):
        losses.append(dropped(at, "thinking of another model is not sent"))
        return None
    if kind == "tool_use" and is_marked(block.get("signature")):
        losses.append(dropped(f"{at}.signature", "a signature of another model family"))
        return {key: value for key, value in block.items() if key != "signature"}
    citations = block.get("citations")
    if kind == "text" and type(citations) is list:
        kept = [one for one in citations if not (type(one) is dict and one.get("encrypted_index") == UNSIGNED)]
        if len(kept) < len(citations):
            losses.append(dropped(f"{at}.citations", "citations of another model are not sent"))
            return {key: value for key, value in block.items() if key != "citations"} | (
                {"citations": kept} if kept else {}
            )
    return block
