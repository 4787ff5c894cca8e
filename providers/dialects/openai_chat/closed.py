"""Quirks of servers that take this dialect's requests with other words, and answer 422 to every key they do not know.

As those of `quirks` they change a body that is ready to be sent, nothing in place that may be the caller's. `exact`:
its paths are the caller's own. Facts: package mistralai 3.7.0, whose request objects are closed; its recorded calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

from providers.canonical.loss import Losses, approximated, dropped
from providers.dialects._openai.values import Json, Object

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ITS_OWN = re.compile(r"[A-Za-z0-9]{9}|chatcmpl-tool-[0-9a-f]+")
_EMPTY: tuple[Json, ...] = (None, "", [], {})
_NO_PARAMETERS: Json = {"type": "object", "properties": {}}

#: Keys that a message may have, by its role.
_KEYS: Mapping[str, frozenset[str]] = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})


# ── parameters ─────────────────────────────────────────────────────────────────────────


def random_seed(body: Object, losses: Losses, exact: bool) -> None:
    """`seed` is called so."""
    if "seed" in body:
        seed = body.pop("seed")
        if body.get("random_seed") is None:
            body["random_seed"] = seed


def any_tool(body: Object, losses: Losses, exact: bool) -> None:
    """`required` is called `any`; several allowed tools are said by offering no others."""
    choice = body.get("tool_choice")
    if choice == "required":
        body["tool_choice"] = "any"
    allowed = choice.get("allowed_tools") if type(choice) is dict else None
    if type(allowed) is dict and type(allowed.get("tools")) is list:
        names = {_name(tool) for tool in allowed["tools"]} - {None}
        body["tools"] = [tool for tool in body.get("tools") or () if _name(tool) in names]
        body["tool_choice"] = "any" if allowed.get("mode") == "required" else "auto"


def _name(tool: Json) -> str | None:
    inner = tool.get("function") if type(tool) is dict else None
    name = inner.get("name") if type(inner) is dict else None
    return name if type(name) is str else None


# ── call ids ───────────────────────────────────────────────────────────────────────────


def nine_character_ids(body: Object, losses: Losses, exact: bool) -> None:
    """Ids of calls that others made are replaced, the same one always by the same one; its own stay."""
    messages = body.get("messages")
    if type(messages) is list:
        body["messages"] = [_short_ids(message) if type(message) is dict else message for message in messages]


def _short_ids(message: Object) -> Object:
    changed: Object = {}
    if type(message.get("tool_call_id")) is str:
        changed["tool_call_id"] = short_id(message["tool_call_id"])
    if message.get("tool_calls"):
        changed["tool_calls"] = [
            {**call, "id": short_id(call["id"])} if type(call.get("id")) is str else call
            for call in message["tool_calls"]
        ]
    return {**message, **changed} if changed else message


def short_id(call_id: str) -> str:
    """Nine letters and digits that stand for a call's id."""
    if _ITS_OWN.fullmatch(call_id):
        return call_id
    number = int.from_bytes(sha256(call_id.encode("utf-8", "surrogatepass")).digest()[:8])
    digits = []
    for _ in range(9):
        number, digit = divmod(number, len(_LETTERS))
        digits.append(_LETTERS[digit])
    return "".join(digits)


# ── closed messages ────────────────────────────────────────────────────────────────────


def closed_messages(body: Object, losses: Losses, exact: bool) -> None:
    """Messages, parts and tools with no more keys than the server knows: it answers 422 to any other."""
    thinks, messages = _thinks(body), body.get("messages")
    if type(messages) is list:
        body["messages"] = [
            _Closed(message, f"messages[{i}]" if exact else "messages", losses).message(thinks)
            if type(message) is dict
            else message
            for i, message in enumerate(messages)
        ]
    if body.get("tools"):
        body["tools"] = [
            _closed_tool(tool, f"tools[{i}]" if exact else "tools", losses) for i, tool in enumerate(body["tools"])
        ]
    for key in [key for key, value in body.items() if value is None]:
        del body[key]


def _thinks(body: Object) -> bool:
    """Will the model read earlier thinking? Others may refuse it."""
    asked = body.get("reasoning_effort") not in (None, "none") or body.get("prompt_mode") == "reasoning"
    return asked or "magistral" in body.get("model", "")


class _Closed:
    """One message on its way."""

    def __init__(self, message: Object, at: str, losses: Losses) -> None:
        self._left = dict(message)
        self._at = at
        self._losses = losses

    def message(self, thinks: bool) -> Object:
        left = self._left
        if left.get("role") == "developer":
            left["role"] = "system"
        if type(left.get("content")) is list:
            left["content"] = [self._part(part, i) for i, part in enumerate(left["content"])]
        self._refusal()
        self._thinking(thinks)
        if left.get("tool_calls") in ([], None):
            left.pop("tool_calls", None)
        for key in sorted(left.keys() - _KEYS.get(left.get("role", ""), left.keys())):
            if left.pop(key) not in _EMPTY:
                self._lose(key)
        return left

    def _lose(self, key: str) -> None:
        self._losses.append(dropped(f"{self._at}.{key}", "the target knows no such field of a message"))

    def _refusal(self) -> None:
        refusal = self._left.pop("refusal", None)
        if refusal:
            self._put({"type": "text", "text": refusal}, last=True)
            self._losses.append(approximated(f"{self._at}.refusal", "the target has no refusals: sent as text"))

    def _thinking(self, thinks: bool) -> None:
        """What the model thought stands in its content there."""
        texts = {key: self._left.pop(key) for key in ("reasoning_content", "reasoning") if key in self._left}
        text = next((text for text in texts.values() if type(text) is str and text), None)
        if text is None:
            return
        if thinks:
            self._put({"type": "thinking", "thinking": [{"type": "text", "text": text}]})
        else:
            self._lose(next(key for key, value in texts.items() if value == text))

    def _put(self, part: Object, *, last: bool = False) -> None:
        content = self._left.get("content")
        parts = content if type(content) is list else [{"type": "text", "text": content}] if content else []
        self._left["content"] = [*parts, part] if last else [part, *parts]

    def _part(self, part: Json, number: int) -> Json:
        kind = part.get("type") if type(part) is dict else None
        at = f"{self._at}.content[{number}]"
        if kind == "refusal":
            return {"type": "text", "text": part.get("refusal", "")}
        if kind == "file":
            return _document(part)
        if type(part) is not dict or kind not in _PARTS:
            return part
        for key in sorted(part.keys() - {"type", kind}):
            if part[key] not in _EMPTY:
                self._losses.append(dropped(f"{at}.{key}", "the target knows no such field of a part"))
        return {key: part[key] for key in ("type", kind) if key in part}


_PARTS = frozenset({"text", "image_url", "input_audio"})


def _document(part: Object) -> Object:
    """A file with its bytes is a document by data URL there."""
    inner = part.get("file")
    if type(inner) is not dict or type(inner.get("file_data")) is not str:
        return {"type": "file", **inner} if type(inner) is dict else part
    data = inner["file_data"]
    url = data if data.startswith(("data:", "https://", "http://")) else f"data:application/pdf;base64,{data}"
    name = {"document_name": inner["filename"]} if inner.get("filename") else {}
    return {"type": "document_url", "document_url": url, **name}


def _closed_tool(tool: Json, at: str, losses: Losses) -> Json:
    inner = tool.get("function") if type(tool) is dict else None
    if type(inner) is not dict or tool.get("type", "function") != "function":
        return tool
    for holder, keys, where in ((inner, _FUNCTION, f"{at}.function"), (tool, {"type", "function"}, at)):
        for key in sorted(holder.keys() - keys):
            if holder[key] not in _EMPTY:
                losses.append(dropped(f"{where}.{key}", "the target knows no such field of a tool"))
    kept = {key: value for key, value in inner.items() if key in _FUNCTION and value is not None}
    return {"type": "function", "function": {"parameters": _NO_PARAMETERS, **kept}}
