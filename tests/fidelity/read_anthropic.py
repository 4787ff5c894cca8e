"""Reads Anthropic Messages - requests, answers, streams - into neutral values (see `neutral`)."""

from __future__ import annotations

import base64
import json

from .neutral import (
    Answer,
    Call,
    Choice,
    Conversation,
    Fact,
    Function,
    Json,
    Request,
    Said,
    Usage,
    cache_of,
    content,
    error_of,
    events,
    parsed,
    result_of,
    says,
    unescaped,
)

_DEFAULTS: dict[str, tuple[Json, ...]] = {"temperature": (1,), "top_p": (1,), "service_tier": ("auto",)}
_NAMES = {"stop_sequences": "stop"}


# ── requests ───────────────────────────────────────────────────────────────────────────


def read_request(body: Json) -> Request:
    out = Request(asleep="-4-5" in str(body.get("model")))
    rest = dict(body)
    for key in ("model", "stream", "anthropic_version"):
        rest.pop(key, None)
    conversation = _Conversation(out)
    system = rest.pop("system", None)
    if system:
        conversation.content("system", system, "system")
    for i, message in enumerate(rest.pop("messages")):
        conversation.content(message["role"], message["content"], f"messages[{i}].content")
    conversation.finish()
    _tools(out, rest.pop("tools", None))
    _choice(out, rest.pop("tool_choice", None))
    _thinking(out, rest)
    _output(out, rest)
    metadata = dict(rest.pop("metadata", None) or {})
    out.fact("end_user", metadata.pop("user_id", None), "metadata.user_id")
    for key, value in metadata.items():
        out.fact(f"metadata.{key}", value, f"metadata.{key}")
    mark = rest.pop("cache_control", None)
    if mark:
        out.fact("cache", cache_of(mark), "cache_control")
    if rest.get("service_tier") == "standard_only":
        rest["service_tier"] = "default"
    for key, value in rest.items():
        if value not in _DEFAULTS.get(key, ()):
            out.fact(_NAMES.get(key, key), value, key)
    return out


class _Conversation(Conversation):
    def content(self, role: str, value: Json, at: str) -> None:
        if isinstance(value, str):
            if value:
                self.add(role, "text", value, at)
            return
        for i, block in enumerate(value or ()):
            self.block(role, block, f"{at}[{i}]")

    def block(self, role: str, block: Json, at: str) -> None:
        rest = dict(block)
        kind = rest.pop("type")
        read = getattr(self, f"read_{kind}", None)
        one = read(role, rest, at) if read else self.add(role, "block", block, at)
        if read is None or one is None:
            return
        mark = rest.pop("cache_control", None)
        if mark:
            one.marks["cache"] = Fact(cache_of(mark), f"{at}.cache_control")
        for key, inner in rest.items():
            if says(inner):
                one.marks[key] = Fact(inner, f"{at}.{key}")

    def read_text(self, role: str, rest: Json, at: str) -> Said | None:
        text = rest.pop("text")
        return self.add(role, "text", text, at) if text or says(rest.get("cache_control")) else None

    def read_image(self, role: str, rest: Json, at: str) -> Said:
        return self.add(role, "media", _source(rest.pop("source")), at)

    def read_document(self, role: str, rest: Json, at: str) -> Said:
        source = rest.pop("source")
        if rest.get("citations") == {"enabled": False}:
            del rest["citations"]
        if says(rest.get("title")):
            rest["filename"] = rest.pop("title")
        one = self.add(role, "media", _source(source), at)
        if "filename" in rest:
            one.marks["filename"] = Fact(rest.pop("filename"), f"{at}.title")
        return one

    def read_thinking(self, role: str, rest: Json, at: str) -> Said:
        text, signature = rest.pop("thinking"), rest.pop("signature", None)
        one = self.add(role, "reasoning", text, at) if text else self.add(role, "nothing", None, at)
        if signature:
            one.marks["signature"] = Fact(signature, f"{at}.signature")
        return one

    def read_redacted_thinking(self, role: str, rest: Json, at: str) -> Said:
        one = self.add(role, "nothing", None, at)
        one.marks["signature"] = Fact(rest.pop("data"), f"{at}.data")
        return one

    def read_tool_use(self, role: str, rest: Json, at: str) -> Said:
        one = self.call(unescaped(rest.pop("name")), rest.pop("input"), rest.pop("id"), at)
        if rest.get("caller") == {"type": "direct"}:
            del rest["caller"]
        return one

    def read_tool_result(self, role: str, rest: Json, at: str) -> Said:
        value = rest.pop("content", None)
        blocks = [{"type": "text", "text": value}] if isinstance(value, str) else value or []
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        failed = rest.pop("is_error", None)
        one = self.result(error_of(text) if failed else result_of(text), rest.pop("tool_use_id"), "", at)
        for i, block in enumerate(blocks):
            where = f"{at}.content[{i}]"
            inner = {key: item for key, item in block.items() if key not in ("type", "text")}
            mark = inner.pop("cache_control", None)
            if mark:
                one.marks["cache"] = Fact(cache_of(mark), f"{where}.cache_control")
            if block["type"] in ("image", "document"):
                number = sum(name.startswith("media") for name in one.marks)
                one.marks[f"media {number}"] = Fact(_source(inner.pop("source")), where)
                if says(inner.get("title")):
                    one.marks[f"name {number}"] = Fact(inner.pop("title"), f"{where}.title")
            elif block["type"] != "text":
                one.marks[f"block {i}"] = Fact(block, where)
                continue
            for key, item in inner.items():
                if says(item) and item != {"enabled": False}:
                    one.marks[f"{i}.{key}"] = Fact(item, f"{where}.{key}")
        return one


def _source(source: Json) -> Json:
    kind = source["type"]
    if kind == "base64":
        return content(source["media_type"], source["data"])
    if kind == "text":
        return content("text/plain", base64.b64encode(source["data"].encode()).decode())
    if kind == "url":
        return {"url": source["url"]}
    return {"id": source["file_id"]} if kind == "file" else {kind: source}


def _tools(out: Request, tools: Json) -> None:
    for i, tool in enumerate(tools or ()):
        at = f"tools[{i}]"
        if tool.get("type") not in (None, "custom"):
            out.facts[f"tool:{at}"] = Fact(tool, at)
            continue
        rest = {key: value for key, value in tool.items() if key != "type"}
        made = Function(
            unescaped(rest.pop("name")),
            at,
            rest.pop("description", None) or None,
            rest.pop("input_schema", None),
        )
        made.schema_at = f"{at}.input_schema"
        mark = rest.pop("cache_control", None)
        if mark:
            made.marks["cache"] = Fact(cache_of(mark), f"{at}.cache_control")
        for key, value in rest.items():
            if says(value) and value is not False:
                made.marks[key] = Fact(value, f"{at}.{key}")
        out.functions.append(made)


def _choice(out: Request, raw: Json) -> None:
    if not raw:
        return
    mode = {"any": "required", "tool": "required"}.get(raw["type"], raw["type"])
    if mode != "auto":
        out.fact(
            "tool_choice", {"mode": mode, "names": [unescaped(raw["name"])] if raw.get("name") else []}, "tool_choice"
        )
    if raw.get("disable_parallel_tool_use"):
        out.facts["parallel_tool_calls"] = Fact(False, "tool_choice.disable_parallel_tool_use")


def _thinking(out: Request, rest: Json) -> None:
    config = dict(rest.get("output_config") or {})
    effort = config.pop("effort", None)
    rest["output_config"] = config
    thinking = dict(rest.pop("thinking", None) or {})
    kind, budget = thinking.pop("type", None), thinking.pop("budget_tokens", None)
    display = thinking.pop("display", None)
    if kind == "disabled":
        out.fact("reasoning", {"effort": "none"}, "thinking")
        out.fact("effort", effort, "output_config.effort")
    elif budget is not None:
        out.shows = display is None
        out.fact("reasoning", {"budget": budget}, "thinking.budget_tokens")
        out.fact("effort", effort, "output_config.effort")
    elif effort:
        out.fact("reasoning", {"effort": effort}, "output_config.effort")
    elif kind == "adaptive":
        out.fact("reasoning", {"budget": -1}, "thinking")
    elif kind:
        out.fact("thinking", kind, "thinking")
    if display not in (None, "omitted"):
        out.fact("show_reasoning", True, "thinking.display")
    for key, value in thinking.items():
        out.fact(f"thinking.{key}", value, f"thinking.{key}")


def _output(out: Request, rest: Json) -> None:
    config = dict(rest.pop("output_config", None) or {})
    at = "output_config.format"
    wanted = config.pop("format", None)
    if wanted is None and rest.get("output_format"):
        wanted, at = rest.pop("output_format"), "output_format"
    if wanted:
        out.fact("json", True, at)
        if says(wanted.get("schema")):
            out.schema = Fact(wanted["schema"], f"{at}.schema")
    for key, value in config.items():
        out.fact(f"output_config.{key}", value, f"output_config.{key}")


# ── answers ────────────────────────────────────────────────────────────────────────────

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
}


def read_answer(body: Json) -> Answer:
    out = Answer(id=body.get("id") or None, model=body.get("model") or None, usage=_usage(body.get("usage")))
    choice = out.choices[0] = Choice()
    for block in body.get("content") or ():
        _hear(choice, block)
    _end(choice, body.get("stop_reason"), body.get("stop_details"))
    return out


def _hear(choice: Choice, block: Json) -> None:
    match block.get("type"):
        case "text":
            choice.text += block["text"]
            found = [one.get("url") for one in block.get("citations") or ()]
            choice.sources += [url for url in found if url and url not in choice.sources]
        case "thinking":
            choice.reasoning += block["thinking"]
            choice.seals += [block["signature"]] if block.get("signature") else []
        case "tool_use":
            choice.calls.append(Call(block["name"], block.get("input") or {}, block["id"]))
        case "redacted_thinking":
            choice.foreign.append("redacted_thinking")
            choice.seals.append(block["data"])
        case kind:
            choice.foreign.append(str(kind))


def _end(choice: Choice, word: str | None, details: Json) -> None:
    choice.word = word
    choice.finish = _FINISH.get(word, "other") if word else ("stop" if choice.heard else None)
    choice.why = (details or {}).get("explanation") or ""
    if choice.finish == "content_filter":
        choice.refusal = choice.why
    if choice.calls and choice.finish == "stop":
        choice.finish = "tool_calls"


def _usage(raw: Json) -> Usage | None:
    if not raw:
        return None

    def count(key: str) -> int:
        return int(raw.get(key) or 0)

    cached = count("cache_read_input_tokens")
    kept = count("cache_creation_input_tokens")
    asked = count("input_tokens") + cached + kept
    answered = count("output_tokens")
    thought = (raw.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return Usage(input=asked, output=answered, total=asked + answered, cached=cached, reasoning=thought, kept=kept)


# ── streams ────────────────────────────────────────────────────────────────────────────


def read_stream(data: bytes) -> Answer:
    """The message put together as clients do: blocks by their index, usage field by field, the last one counts."""
    out = Answer(complete=False)
    blocks: dict[int, Json] = {}
    usage: Json = {}
    word, details = None, None
    for _, payload in events(data):
        if payload.strip() == b"[DONE]":
            continue
        event = json.loads(payload)
        match event.get("type"):
            case "error":
                out.error = event["error"]
                break
            case "message_start":
                message = event["message"]
                if blocks and message.get("id") != out.id:
                    out.error = {"message": "another message begins within this one"}
                    break
                blocks.clear()
                out.id, out.model = message.get("id") or None, message.get("model") or None
                usage = {**usage, **(message.get("usage") or {})}
            case "content_block_start":
                blocks[event["index"]] = {**event["content_block"], "pieces": ""}
            case "content_block_delta":
                _piece(blocks[event["index"]], event["delta"])
            case "message_delta":
                word = event["delta"].get("stop_reason") or word
                details = event["delta"].get("stop_details") or details
                usage |= {key: value for key, value in (event.get("usage") or {}).items() if value is not None}
            case "message_stop":
                out.complete = True
                break
    choice = out.choices[0] = Choice()
    for index in sorted(blocks):
        block = blocks[index]
        if block["type"] == "tool_use" and block["pieces"]:
            block["input"] = parsed(block["pieces"])
        _hear(choice, block)
    _end(choice, word, details)
    out.usage = _usage(usage)
    return out


def _piece(block: Json, delta: Json) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "input_json_delta":
            block["pieces"] += delta["partial_json"]
        case "signature_delta":
            block["signature"] = (block.get("signature") or "") + delta["signature"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]


__all__ = ["read_answer", "read_request", "read_stream"]
