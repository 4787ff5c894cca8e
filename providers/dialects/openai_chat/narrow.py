"""Quirks of servers that take less than the dialect has: plain texts, strict turns, fewer parameters.

As those of `quirks` they change a body that is ready to be sent, nothing in place that may be the caller's. `exact`:
its paths are the caller's own. Facts: the documents of the systems whose rows in the catalog name these quirks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Losses, approximated, dropped
from providers.dialect import LONGEST_STOP, MOST_STOPS, Range
from providers.dialects._openai.values import Json, Object

#: What a message may have, by its role; any other role: what stands under "".
_KEYS: Mapping[str, frozenset[str]] = {
    "": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls"}),
    "tool": frozenset({"role", "content", "tool_call_id"}),
}
_OLDER = {"max_completion_tokens": "max_tokens"}
_TEXTS = frozenset({"text", "refusal"})  # kinds of parts
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,")
_STEERING = re.compile(r"_worker/[a-zA-Z0-9-_]{1,64}|[0-9a-f]{64}")


def _refuse(field: str, reason: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"{field}: {reason}", param=field)


def _objects(body: Object) -> list[tuple[int, Object]]:
    """The messages that are objects, with their numbers."""
    messages = body.get("messages")
    return [(i, one) for i, one in enumerate(messages) if type(one) is dict] if type(messages) is list else []


def _at(index: int, key: str, exact: bool) -> str:
    return f"messages[{index}].{key}" if exact else "messages"


# ── parameters ─────────────────────────────────────────────────────────────────────────


def bare_stop(body: Object, losses: Losses, exact: bool) -> None:
    """A single stop text goes without the list around it, an empty list not at all."""
    stop = body.get("stop")
    if stop == []:
        del body["stop"]
    elif type(stop) is list and len(stop) == 1:
        body["stop"] = stop[0]


def logprobs_first(body: Object, losses: Losses, exact: bool) -> None:
    """`top_logprobs` only together with `logprobs`."""
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise _refuse("top_logprobs", "only together with logprobs")


def stop_here(body: Object, losses: Losses, exact: bool) -> None:
    """`stop` is not sent: the answer is cut on its way back (providers/mending.py)."""
    stop = body.pop("stop", None)
    stops = [stop] if type(stop) is str else stop or ()
    if len(stops) > MOST_STOPS or any(len(one) > LONGEST_STOP for one in stops):
        raise _refuse("stop", f"at most {MOST_STOPS} texts of {LONGEST_STOP} characters")


def idle_tool_choice(body: Object, losses: Losses, exact: bool) -> None:
    """Without tools `tool_choice: none` says nothing."""
    for key, tools in (("tool_choice", "tools"), ("function_call", "functions")):
        if body.get(key) == "none" and not body.get(tools):
            del body[key]


def json_schema_field(body: Object, losses: Losses, exact: bool) -> None:
    """The schema of the answer stands in a field `json_schema`, bare."""
    wish = body.get("response_format")
    given = body.get("json_schema")
    if given is not None and type(given) is not dict:
        raise MalformedRequest("json_schema must be an object", param="json_schema")
    if wish is None:
        return
    if given is not None:
        raise _refuse("response_format", "not together with json_schema, which says the same")
    kind = wish.get("type") if type(wish) is dict else None
    if kind not in ("text", "json_object", "json_schema"):
        raise _refuse("response_format", "the target knows no such format")
    del body["response_format"]
    losses[:] = [loss for loss in losses if (loss.field, loss.kind) != ("response_format", "invented")]
    if kind == "text":
        return
    inner = wish.get("json_schema") or {}
    body["json_schema"] = inner.get("schema") or {"type": "object"} if kind == "json_schema" else {"type": "object"}
    if inner.get("description"):
        at = "response_format.json_schema.description" if exact else "response_format"
        losses.append(dropped(at, "the target takes the schema alone"))


def schema_only(body: Object, losses: Losses, exact: bool) -> None:
    """Of the formats of an answer only `json_schema`; that it be text goes without saying."""
    wish = body.get("response_format")
    kind = wish.get("type") if type(wish) is dict else None
    if kind == "text":
        del body["response_format"]
    elif wish is not None and kind != "json_schema":
        raise _refuse("response_format", "the target wants a schema")


def steering_concepts(body: Object, losses: Losses, exact: bool) -> None:
    """Names of concepts have a form of their own."""
    concepts = body.get("steering_concepts")
    if concepts is None:
        return
    if type(concepts) is not list:
        raise MalformedRequest("steering_concepts must be an array of strings", param="steering_concepts")
    for i, one in enumerate(concepts):
        if type(one) is not str or not _STEERING.fullmatch(one):
            at = f"steering_concepts[{i}]"
            raise MalformedRequest(f"{at} must be _worker/NAME or the 64 hex digits of a concept", param=at)


def within(ranges: Mapping[str, Range], values: Iterable[tuple[str, str, Json]]) -> None:
    """UnsupportedParameter for a value outside of what the row documents. A mapping's values are looked at one by one.

    `values`: what to call the parameter, its name here, and the value.
    """
    for name, wire, value in values:
        if (limits := ranges.get(_OLDER.get(wire, wire))) is None or value is None:
            continue
        low, high = limits
        for one in value.values() if isinstance(value, Mapping) else (value,):
            if type(one) in (int, float) and ((low is not None and one < low) or (high is not None and one > high)):
                raise _refuse(name, f"the target takes {_limits(low, high)}")


def _limits(low: float | None, high: float | None) -> str:
    if high is None:
        return f"{low:g} at least"
    return f"{high:g} at most" if low is None else f"{low:g} to {high:g}"


# ── messages ───────────────────────────────────────────────────────────────────────────


def text_only(body: Object, losses: Losses, exact: bool) -> None:
    """The target reads and says text: other parts are refused, as is the wish for an answer without text."""
    for i, message in _objects(body):
        content = message.get("content")
        for j, part in enumerate(content if type(content) is list else ()):
            if type(part) is not dict or part.get("type") not in _TEXTS:
                raise _refuse(_at(i, f"content[{j}]", exact), "the target reads text only")
    wanted = body.get("modalities")
    if wanted and "text" not in wanted:
        raise _refuse("modalities", "the target answers in text only")
    if wanted == ["text"]:
        del body["modalities"]


def data_urls(body: Object, losses: Losses, exact: bool) -> None:
    """Users show images, in the call itself, without a wish for detail; parts of any other kind are refused."""
    if type(body.get("messages")) is not list:
        return
    messages = list(body["messages"])
    for i, message in _objects(body):
        content = message.get("content")
        if type(content) is list and any(type(part) is not dict or part.get("type") not in _TEXTS for part in content):
            user = message.get("role") == "user"
            parts = [_image(part, _at(i, f"content[{j}]", exact), user, losses) for j, part in enumerate(content)]
            messages[i] = {**message, "content": parts}
    body["messages"] = messages


def _image(part: Json, at: str, user: bool, losses: Losses) -> Json:
    kind = part.get("type") if type(part) is dict else None
    if kind in _TEXTS:
        return part
    if kind != "image_url" or not user:
        raise _refuse(at, "the target reads text, and images of the user")
    image = part.get("image_url")
    url = image.get("url") if type(image) is dict else image
    if type(url) is not str or not _DATA_URL.match(url):
        raise _refuse(at, "the target takes images in the call only (data:image/png;base64,…)")
    if type(image) is dict and image.get("detail") not in (None, "auto"):
        losses.append(dropped(at, "the target chooses the detail itself"))
    return {"type": "image_url", "image_url": {"url": url}}


def no_tool_turns(body: Object, losses: Losses, exact: bool) -> None:
    """Turns in which tools were called, or answered, are refused."""
    for i, message in _objects(body):
        called = message.get("tool_calls") or message.get("function_call")
        if called or message.get("role") in ("tool", "function"):
            raise _refuse(f"messages[{i}]" if exact else "messages", "the target knows no tools")


def role_and_content(body: Object, losses: Losses, exact: bool) -> None:
    """Messages go with their role and content, and calls where there are any; the rest is dropped."""
    if type(body.get("messages")) is list:
        body["messages"] = [
            _plain(message, i, losses, exact) if type(message) is dict else message
            for i, message in enumerate(body["messages"])
        ]


def _plain(message: Object, index: int, losses: Losses, exact: bool) -> Object:
    keys = _KEYS[message["role"] if message.get("role") in _KEYS else ""]
    kept = {key: value for key, value in message.items() if key in keys and (value or key == "content")}
    rest = {key: value for key, value in message.items() if key not in keys and value}
    if not message.get("content") and not kept.get("tool_calls"):
        kept["content"] = rest.pop("refusal", "")
        if kept["content"]:
            losses.append(approximated(_at(index, "refusal", exact), "the target has no refusals: sent as text"))
    for key in sorted(rest):
        losses.append(dropped(_at(index, key, exact), "the target takes role and content"))
    return kept


# ── turns ──────────────────────────────────────────────────────────────────────────────


def alternate_turns(body: Object, losses: Losses, exact: bool) -> None:
    """One system message first, then user and assistant by turns, the user first and last: what is not so is mended.

    Neighbours of one role become one, later system texts move to the leading one, an answer that nobody asked for
    becomes part of it. A turn of the model at the end is a prefill, which cannot be said in any other way: refused.
    """
    messages = body.get("messages")
    if type(messages) is not list or not all(type(message) is dict for message in messages):
        return
    system = [message for message in messages if _is_system(message)]
    turns = [message for message in messages if not _is_system(message)]
    if any(not _is_system(before) and _is_system(after) for before, after in pairwise(messages)):
        _mended(losses, "the target takes one system message, at the start")
    elif len(system) > 1:
        _mended(losses, "the target takes one system message: they are joined")
    _check_last(turns)
    while turns and turns[0].get("role") == "assistant" and not turns[0].get("tool_calls"):
        first = turns.pop(0)
        if first.get("content"):
            text = _joined("The assistant has already said:", first["content"])
            system.append({"role": "system", "content": text})
        _mended(losses, "the target wants the user's turn first: what came before is told to it")
    out = [_one(system)] if system else []
    body["messages"] = [*out, *_by_turns(turns, losses)]


def _by_turns(turns: list[Object], losses: Losses) -> list[Object]:
    out: list[Object] = []
    run: list[Object] = []  # neighbours of one role
    for turn in turns:
        if run and not _follows(run[-1], turn):
            out.append(_one(run))
            run = []
        run.append(turn)
    if run:
        out.append(_one(run))
    if len(out) < len(turns):
        _mended(losses, "the target wants turns that alternate: neighbours are joined")
    return out


def _follows(one: Object, other: Object) -> bool:
    """Two turns of one role that can be said as one: calls come last in theirs."""
    role = one.get("role")
    return role in ("user", "assistant") and role == other.get("role") and "tool_calls" not in one


def _one(messages: list[Object]) -> Object:
    """Messages of one role as one, with a blank line between texts."""
    if len(messages) == 1:
        return messages[0]
    contents = [message["content"] for message in messages if message.get("content") is not None]
    together: Json
    if all(type(content) is str for content in contents):
        together = "\n\n".join(content for content in contents if content)
    else:
        together = [part for content in contents for part in _parts(content)]
    return {**messages[0], **messages[-1], "content": together}


def _joined(text: str, content: Json) -> Json:
    return f"{text}\n{content}" if type(content) is str else [*_parts(text), *_parts(content)]


def _parts(content: Json) -> list[Json]:
    if type(content) is list:
        return content
    return [{"type": "text", "text": content}] if content else []


def _is_system(message: Object) -> bool:
    return message.get("role") in ("system", "developer")


def _mended(losses: Losses, reason: str) -> None:
    losses.append(approximated("messages", reason))


def _check_last(turns: list[Object]) -> None:
    if turns and turns[-1].get("role") == "assistant":
        error = _refuse("messages", "the target cannot go on with an answer that has begun (a prefill)")
        error.code = "unsupported_prefill"
        raise error
    if not turns:
        raise _refuse("messages", "the target wants a turn of the user at the end")


def strict_turns(body: Object, losses: Losses, exact: bool) -> None:
    """The same order, demanded: what is not so is refused."""
    messages = body.get("messages")
    if type(messages) is not list or not all(type(message) is dict for message in messages):
        return
    turns = messages[1:] if messages and _is_system(messages[0]) else messages
    _check_last(turns)
    before = "assistant"
    for turn in turns:
        role = turn.get("role")
        if role not in ("tool", "function"):
            if role == before or role not in ("user", "assistant"):
                raise _refuse("messages", "the target wants turns of user and assistant that alternate, the user first")
            before = role


CHANGES: Mapping[str, Callable[[Object, Losses, bool], None]] = {
    "no_tool_turns": no_tool_turns,
    "text_only": text_only,
    "data_urls": data_urls,
    "idle_tool_choice": idle_tool_choice,
    "json_schema_field": json_schema_field,
    "schema_only": schema_only,
    "stop_here": stop_here,
    "bare_stop": bare_stop,
    "logprobs_first": logprobs_first,
    "steering_concepts": steering_concepts,
}

#: Made when content has become one text: they join texts.
LATE_CHANGES: Mapping[str, Callable[[Object, Losses, bool], None]] = {
    "role_and_content": role_and_content,
    "alternate_turns": alternate_turns,
    "strict_turns": strict_turns,
}
