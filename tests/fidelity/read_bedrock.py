"""Reads Bedrock Converse - requests, answers, streams - into neutral values (see `neutral`). Upstreams only."""

from __future__ import annotations

import base64
import json
from typing import Any

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
    frames,
    parsed,
    result_of,
    unescaped,
)

_PLAIN = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}
#: Type of a medium by Bedrock's word, where that is not the second half of the type.
_TYPES = {
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "csv": "text/csv",
    "pdf": "application/pdf",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "three_gp": "video/3gpp",
    "mpg": "video/mpeg",
    "wmv": "video/x-ms-wmv",
    "flv": "video/x-flv",
    "mp3": "audio/mpeg",
}


# ── requests ───────────────────────────────────────────────────────────────────────────


def read_request(body: Json) -> Request:
    out = Request(asleep=True)
    rest = dict(body)
    conversation = _Conversation(out)
    for i, block in enumerate(rest.pop("system", None) or ()):
        conversation.block("system", block, f"system[{i}]")
    for i, message in enumerate(rest.pop("messages")):
        for j, block in enumerate(message["content"]):
            conversation.block(message["role"], block, f"messages[{i}].content[{j}]")
    conversation.finish()
    for key, value in (rest.pop("inferenceConfig", None) or {}).items():
        name = _PLAIN.get(key, key)
        if (name, value) not in (("temperature", 1), ("top_p", 1)):
            out.fact(name, value, f"inferenceConfig.{key}")
    _tools(out, rest.pop("toolConfig", None) or {})
    _output(out, dict(rest.pop("outputConfig", None) or {}))
    _additional(out, dict(rest.pop("additionalModelRequestFields", None) or {}))
    tier = (rest.pop("serviceTier", None) or {}).get("type")
    out.fact("service_tier", tier, "serviceTier")
    metadata = dict(rest.pop("requestMetadata", None) or {})
    for key in ("user", "user_id", "end_user"):
        out.fact("end_user", metadata.pop(key, None), f"requestMetadata.{key}")
    out.fact("metadata", metadata, "requestMetadata")
    for key, value in rest.items():
        out.fact(key, value, key)
    return out


class _Conversation(Conversation):
    def block(self, role: str, block: Json, at: str) -> Said | None:
        ((kind, inner),) = block.items()
        match kind:
            case "text":
                return self.add(role, "text", inner, at) if inner else None
            case "image" | "document" | "video" | "audio":
                one = self.add(role, "media", medium(kind, inner), at)
                for key in inner.keys() - {"format", "name", "source"}:
                    one.marks[key] = Fact(inner[key], f"{at}.{kind}.{key}")
                return one
            case "cachePoint":
                (self.said[-1] if self.said else self.add(role, "nothing", None, at)).marks["cache"] = Fact(
                    cache_of(inner), at
                )
                return None
            case "toolUse":
                return self.call(unescaped(inner["name"]), inner.get("input") or {}, inner["toolUseId"], at)
            case "toolResult":
                return self.given(inner, at)
            case "reasoningContent":
                return self.thought(inner, at)
        return self.add(role, "block", block, at)

    def thought(self, inner: Json, at: str) -> Said:
        text = (inner.get("reasoningText") or {}).get("text")
        one = self.add("assistant", "reasoning", text, at) if text else self.add("assistant", "nothing", None, at)
        sealed = (inner.get("reasoningText") or {}).get("signature") or inner.get("redactedContent")
        if sealed:
            one.marks["signature"] = Fact(sealed, at)
        return one

    def given(self, inner: Json, at: str) -> Said:
        blocks = inner["content"]
        text = "".join(block["text"] if "text" in block else _dumped(block) for block in blocks)
        failed = inner.get("status") == "error"
        one = self.result(error_of(text) if failed else result_of(text), inner["toolUseId"], "", at)
        for i, block in enumerate(blocks):
            ((kind, value),) = block.items()
            if kind in ("image", "document", "video"):
                number = sum(name.startswith("media") for name in one.marks)
                one.marks[f"media {number}"] = Fact(medium(kind, value), f"{at}.toolResult.content[{i}]")
        return one


def _dumped(block: Json) -> str:
    return json.dumps(block["json"], ensure_ascii=False, separators=(",", ":")) if "json" in block else ""


def medium(kind: str, inner: Json) -> Json:
    source = inner["source"]
    if "bytes" in source:
        word = inner.get("format", "")
        usual = f"{kind}/{word}" if kind in ("image", "video", "audio") else word
        return content(_TYPES.get(word, usual), source["bytes"])
    if "text" in source:
        return content("text/plain", base64.b64encode(source["text"].encode()).decode())
    return {"url": source["s3Location"]["uri"]} if "s3Location" in source else source


def _tools(out: Request, config: Json) -> None:
    for i, tool in enumerate(config.get("tools") or ()):
        ((kind, inner),) = tool.items()
        at = f"toolConfig.tools[{i}]"
        if kind == "toolSpec":
            made = Function(unescaped(inner["name"]), at, inner.get("description"), inner["inputSchema"]["json"])
            if inner.get("strict"):
                made.marks["strict"] = Fact(True, at)
            out.functions.append(made)
        elif kind == "cachePoint" and out.functions:
            out.functions[-1].marks["cache"] = Fact(cache_of(inner), at)
        else:
            out.facts[f"tool:{at}"] = Fact(tool, at)
    for word, inner in (config.get("toolChoice") or {}).items():
        if word != "auto":
            names = [unescaped(inner["name"])] if word == "tool" else []
            out.fact("tool_choice", {"mode": "required", "names": names}, "toolConfig.toolChoice")


def _output(out: Request, config: dict[str, Any]) -> None:
    effort = config.pop("effort", None)
    out.fact("reasoning", {"effort": effort} if effort else None, "outputConfig.effort")
    wanted = config.pop("textFormat", None)
    if wanted:
        schema = wanted["structure"]["jsonSchema"]
        out.fact("json", True, "outputConfig.textFormat")
        out.schema = Fact(json.loads(schema["schema"]), "outputConfig.textFormat")
        out.fact("json_schema.description", schema.get("description"), "outputConfig.textFormat")
    for key, value in config.items():
        out.fact(f"outputConfig.{key}", value, f"outputConfig.{key}")


def _additional(out: Request, fields: dict[str, Any]) -> None:
    at = "additionalModelRequestFields"
    for key in ("thinking", "reasoning_config"):
        thinking = fields.pop(key, None)
        if thinking:
            off = thinking.get("type") == "disabled"
            value = {"effort": "none"} if off else {"budget": thinking.get("budget_tokens", -1)}
            out.facts.setdefault("reasoning", Fact(value, f"{at}.{key}"))
            out.shows = not off
            if thinking.get("display") == "summarized":
                out.fact("show_reasoning", True, f"{at}.{key}")
    effort = (fields.pop("output_config", None) or {}).get("effort") or fields.pop("reasoning_effort", None)
    if effort:
        out.facts["reasoning"] = Fact({"effort": effort}, at)
    inference = fields.pop("inferenceConfig", None) or {}
    out.fact("top_k", fields.pop("top_k", None) or inference.get("topK"), f"{at}.top_k")
    for key, value in fields.items():
        out.fact(key, value, f"{at}.{key}")


# ── answers ────────────────────────────────────────────────────────────────────────────

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}


def read_answer(body: Json) -> Answer:
    out = Answer(usage=_usage(body.get("usage")))
    choice = out.choices[0] = Choice()
    for block in ((body.get("output") or {}).get("message") or {}).get("content") or ():
        _hear(choice, block)
    _end(choice, body.get("stopReason"))
    return out


def _hear(choice: Choice, block: Json) -> None:
    if "text" in block:
        choice.text += block["text"]
    elif "toolUse" in block and block["toolUse"].get("type") != "server_tool_use":
        inner = block["toolUse"]
        choice.calls.append(Call(inner["name"], inner.get("input") or {}, inner["toolUseId"]))
    elif "reasoningContent" in block:
        inner = block["reasoningContent"]
        choice.reasoning += (inner.get("reasoningText") or {}).get("text") or ""
        choice.foreign += ["redacted_thinking"] if "redactedContent" in inner else []
        sealed = (inner.get("reasoningText") or {}).get("signature") or inner.get("redactedContent")
        choice.seals += [sealed] if sealed else []
    elif "citationsContent" in block:
        choice.text += "".join(piece.get("text") or "" for piece in block["citationsContent"].get("content") or ())
        for citation in block["citationsContent"].get("citations") or ():
            _source(choice, citation)
    elif "image" in block:
        choice.media.append(medium("image", block["image"]))
    else:
        choice.foreign += [kind for kind in block if kind != "citations"]  # of no words of its own


def _source(choice: Choice, citation: Json) -> None:
    url = ((citation.get("location") or {}).get("web") or {}).get("url")
    choice.sources += [url] if url and url not in choice.sources else []


def _end(choice: Choice, word: str | None) -> None:
    choice.word = word
    choice.finish = _FINISH.get(word, "other") if word else None
    if choice.calls and choice.finish == "stop":
        choice.finish = "tool_calls"


def _usage(raw: Json) -> Usage | None:
    if not raw:
        return None
    cached, kept = raw.get("cacheReadInputTokens") or 0, raw.get("cacheWriteInputTokens") or 0
    asked, answered = (raw.get("inputTokens") or 0) + cached + kept, raw.get("outputTokens") or 0
    return Usage(input=asked, output=answered, total=asked + answered, cached=cached, kept=kept)


def read_stream(data: bytes) -> Answer:
    out = Answer(complete=False)
    blocks: dict[int, Json] = {}
    word: str | None = None
    for headers, payload in frames(data):
        event = json.loads(payload)
        if headers.get(":message-type") != "event":
            out.error = {"type": headers.get(":exception-type") or headers.get(":error-code"), **event}
            break
        index = event.get("contentBlockIndex", 0)
        match headers.get(":event-type"):
            case "contentBlockStart":
                blocks[index] = dict(event.get("start") or {})
            case "contentBlockDelta":
                _piece(blocks.setdefault(index, {}), event["delta"])
            case "messageStop":
                word, out.complete = event["stopReason"], True  # the counts behind it may be missing
            case "metadata":
                out.usage = _usage(event.get("usage"))
    choice = out.choices[0] = Choice()
    for index in sorted(blocks):
        block = blocks[index]
        if "toolUse" in block:
            block["toolUse"]["input"] = parsed(block["toolUse"].get("pieces") or "")
        if "pieces" in block.get("image", {}):
            block["image"]["source"] = {"bytes": base64.b64encode(block["image"]["pieces"]).decode()}
        _hear(choice, block)
        for citation in block.get("citations") or ():
            _source(choice, citation)
    _end(choice, word)
    return out


def _piece(block: Json, delta: Json) -> None:
    if "citation" in delta:
        block.setdefault("citations", []).append(delta["citation"])
    elif "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        inner = block.setdefault("toolUse", {})
        inner["pieces"] = inner.get("pieces", "") + delta["toolUse"]["input"]
    elif "image" in delta:
        inner = block.setdefault("image", {})
        inner["pieces"] = inner.get("pieces", b"") + base64.b64decode(delta["image"]["source"]["bytes"])
    elif "reasoningContent" in delta:
        inner = block.setdefault("reasoningContent", {})
        if "redactedContent" in delta["reasoningContent"]:
            inner["redactedContent"] = delta["reasoningContent"]["redactedContent"]
        text = inner.setdefault("reasoningText", {"text": ""})
        text["text"] += delta["reasoningContent"].get("text") or ""
        text["signature"] = text.get("signature", "") + (delta["reasoningContent"].get("signature") or "")


__all__ = ["medium", "read_answer", "read_request", "read_stream"]
