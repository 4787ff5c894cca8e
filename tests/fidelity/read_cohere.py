"""Reads Cohere v2 chat - requests, answers, streams - into neutral values (see `neutral`). Spoken to upstreams only."""

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
    content,
    events,
    from_url,
    parsed,
    result_of,
    says,
)

_DEFAULTS: dict[str, tuple[Json, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
}
_NAMES = {"p": "top_p", "k": "top_k", "stop_sequences": "stop"}


# ── requests ───────────────────────────────────────────────────────────────────────────


def read_request(body: Json) -> Request:
    out = Request(asleep=True)
    rest = dict(body)
    rest.pop("model", None)
    rest.pop("stream", None)
    conversation = _Conversation(out)
    for i, message in enumerate(rest.pop("messages")):
        conversation.message(message, f"messages[{i}]")
    for i, document in enumerate(rest.pop("documents", None) or ()):
        text = document["data"].get("text", "") if isinstance(document, dict) else document
        data = base64.b64encode(text.encode()).decode()
        conversation.add("user", "media", content("text/plain", data), f"documents[{i}]")
    conversation.finish()
    strict = rest.pop("strict_tools", None)
    for i, tool in enumerate(rest.pop("tools", None) or ()):
        inner = tool["function"]
        made = Function(inner["name"], f"tools[{i}].function", inner.get("description") or None, inner["parameters"])
        if strict:
            made.marks["strict"] = Fact(True, "strict_tools")
        out.functions.append(made)
    mode = rest.pop("tool_choice", None)
    out.fact("tool_choice", {"mode": mode.lower(), "names": []} if mode else None, "tool_choice")
    wanted = rest.pop("response_format", None) or {}
    if wanted.get("type") == "json_object":
        out.fact("json", True, "response_format")
        if says(wanted.get("json_schema")):
            out.schema = Fact(wanted["json_schema"], "response_format.json_schema")
    thinking = rest.pop("thinking", None) or {}
    if thinking.get("type") == "disabled":
        out.fact("reasoning", {"effort": "none"}, "thinking")
    elif thinking:
        out.fact("reasoning", {"budget": thinking.get("token_budget", -1)}, "thinking")
    for key, value in rest.items():
        name = _NAMES.get(key, key)
        if value not in _DEFAULTS.get(name, ()):
            out.fact(name, value, key)
    return out


class _Conversation(Conversation):
    def message(self, message: Json, at: str) -> None:
        role = message["role"]
        value = message.get("content")
        if role == "tool":
            parts = [{"type": "text", "text": value}] if isinstance(value, str) else value or []
            texts = [part["text"] if part["type"] == "text" else _document(part["document"]) for part in parts]
            self.result(result_of("".join(texts)), message["tool_call_id"], "", at)
            return
        if role == "user" and not value:
            self.add(role, "nothing", None, at)
        if message.get("tool_plan"):
            self.add(role, "reasoning", message["tool_plan"], f"{at}.tool_plan")
        for i, part in enumerate([{"type": "text", "text": value}] if isinstance(value, str) else value or ()):
            self.part(role, part, f"{at}.content[{i}]")
        for i, call in enumerate(message.get("tool_calls") or ()):
            inner = call["function"]
            self.call(inner["name"], parsed(inner.get("arguments") or ""), call["id"], f"{at}.tool_calls[{i}]")

    def part(self, role: str, part: Json, at: str) -> Said | None:
        match part["type"]:
            case "text":
                return self.add(role, "text", part["text"], at) if part["text"] else None
            case "thinking":
                return self.add(role, "reasoning", part["thinking"], at)
            case "image_url":
                one = self.add(role, "media", from_url(part["image_url"]["url"]), at)
                if part["image_url"].get("detail") not in (None, "auto"):
                    one.marks["detail"] = Fact(part["image_url"]["detail"], f"{at}.image_url.detail")
                return one
        return self.add(role, "block", part, at)


def _document(document: Json) -> str:
    return json.dumps(document["data"], ensure_ascii=False, separators=(",", ":"))


# ── answers ────────────────────────────────────────────────────────────────────────────

_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR": "error",
    "TIMEOUT": "error",
}


def read_answer(body: Json) -> Answer:
    out = Answer(id=body.get("id") or None, usage=_usage(body.get("usage")))
    choice = out.choices[0] = Choice()
    message = body.get("message") or {}
    _hear(choice, message)
    _tokens(choice, body.get("logprobs"))
    for citation in message.get("citations") or ():
        _source(choice, citation)
    for call in message.get("tool_calls") or ():
        choice.calls.append(_call(call))
    _end(choice, body.get("finish_reason"))
    return out


def _hear(choice: Choice, message: Json) -> None:
    choice.reasoning += message.get("tool_plan") or ""
    for item in message.get("content") or ():
        choice.text += item.get("text") or ""
        choice.reasoning += item.get("thinking") or ""


def _source(choice: Choice, citation: Json) -> None:
    for source in citation.get("sources") or ():
        url = (source.get("document") or {}).get("url")
        choice.sources += [url] if url and url not in choice.sources else []


def _tokens(choice: Choice, items: Json) -> None:
    """Log probabilities come with a piece of text and the ids of its tokens: the text stands with the first."""
    for item in items or ():
        choice.tokens = [*(choice.tokens or ()), item.get("text") or "", *("" for _ in item["token_ids"][1:])]


def _call(call: Json) -> Call:
    inner = call["function"]
    return Call(inner["name"], parsed(inner.get("arguments") or ""), call["id"])


def _end(choice: Choice, word: str | None) -> None:
    choice.word = word
    choice.finish = _FINISH.get(word, "other") if word else None
    if choice.calls and choice.finish == "stop":
        choice.finish = "tool_calls"


def _usage(raw: Json) -> Usage | None:
    if not raw:
        return None
    tokens = raw.get("tokens") or raw.get("billed_units") or {}
    asked, answered = int(tokens.get("input_tokens") or 0), int(tokens.get("output_tokens") or 0)
    return Usage(
        input=asked,
        output=answered,
        total=asked + answered,
        cached=int(raw.get("cached_tokens") or 0),
        reasoning=int(tokens.get("reasoning_tokens") or 0),
    )


def read_stream(data: bytes) -> Answer:
    out = Answer(complete=False)
    choice = out.choices[0] = Choice()
    calls: dict[int, Json] = {}
    for _, payload in events(data):
        if payload.strip() == b"[DONE]":
            continue
        event = json.loads(payload)
        delta = event.get("delta") or {}
        message = delta.get("message") or {}
        match event["type"]:
            case "message-start":
                out.id = event.get("id") or None
            case "content-start" | "content-delta":
                _hear(choice, {"content": [message["content"]]})
                _tokens(choice, [event["logprobs"]] if event.get("logprobs") else None)
            case "citation-start":
                _source(choice, message["citations"])
            case "tool-plan-delta":
                choice.reasoning += message["tool_plan"]
            case "tool-call-start":
                calls[event["index"]] = {"function": {}, **message["tool_calls"]}
            case "tool-call-delta":
                inner = calls[event["index"]]["function"]
                inner["arguments"] = (inner.get("arguments") or "") + message["tool_calls"]["function"]["arguments"]
            case "message-end":
                choice.calls += [_call(calls[index]) for index in sorted(calls)]
                _end(choice, delta.get("finish_reason"))
                out.usage, out.complete = _usage(delta.get("usage")), True
                out.error = delta.get("error")
    return out


__all__ = ["read_answer", "read_request", "read_stream"]
