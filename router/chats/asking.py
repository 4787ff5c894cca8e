"""What callers of the chat service send: queries and bodies, checked in full before anything is done.

Texts stand under `content` or, as older clients write it, under `message`. Unknown fields are ignored. What is wrong
is a MalformedRequest that names the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeAlias

import msgspec

from providers.canonical.chat import Media
from providers.canonical.errors import Detail, MalformedRequest
from providers.wire.json import kind_of
from router.chats.personas import Scope
from router.chats.store import LONGEST_PAGE, LONGEST_TITLE, Draft, Wanted, check_size

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]

MOST_TURNS = 1000
MOST_CONTEXT = 32
MOST_CONTEXT_BYTES = 64 << 10
SOURCE = "platform.converse"
WORDLESS = "[image]"  # what is kept of a message that is nothing else

_ID = re.compile(r"[0-9a-f]{24}")
_ROLES = ("user", "assistant", "system")
_IMAGE = re.compile(r"data:(image/[a-z0-9.+-]+);base64,([A-Za-z0-9+/=]+)", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MOMENT = 253402300799999  # of the year 9999
_LISTS = ("thinking_steps", "steps")


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a history: `text` and `media` go to the model, `draft` is kept. Only that of a message without
    words says more than its text, for what is kept is sent back to us, and a user's message without words is none."""

    text: str
    draft: Draft
    media: tuple[Media, ...] = ()


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One generation."""

    history: tuple[Turn, ...]
    persona: str
    switches: Mapping[str, bool]  # those that are on; True: with options, which are nobody's here
    functions: tuple[str, ...]  # tools that the caller describes
    scope: Scope
    stream: bool
    voice: bool
    context: tuple[Json, ...]
    chat_id: str | None
    username: str | None
    source: str
    title: str | None
    deltas: bool | None

    @property
    def drafts(self) -> list[Draft]:
        return [turn.draft for turn in self.history]


def refuse(field: str, message: str) -> NoReturn:
    raise MalformedRequest(message, param=field, details=(Detail(field, message),))


# ── small values ───────────────────────────────────────────────────────────────────────────────


def chat_id(text: Json, field: str = "chatId") -> str:
    """An id of ours, in lower case."""
    if type(text) is not str or not _ID.fullmatch(text.lower()):
        refuse(field, "Invalid chat ID format")
    return str(text.lower())


def title(value: Json) -> str:
    """Without the white space around it."""
    text = value.strip() if type(value) is str else ""
    if not 1 <= len(text) <= LONGEST_TITLE:
        refuse("title", f"title must be text of 1 to {LONGEST_TITLE} characters")
    return str(text)


def pinned(value: Json) -> bool:
    if type(value) is not bool:
        refuse("pinned", f"pinned must be true or false, not {kind_of(value)}")
    return bool(value)


def message_id(value: Json, field: str) -> str:
    if type(value) is not str or not 1 <= len(value) <= 128 or not value.isprintable():
        refuse(field, f"{field} must be 1 to 128 printable characters")
    return str(value)


def idempotency_key(texts: Sequence[str]) -> str | None:
    """Of all headers of the name, which may be there twice but must not differ."""
    if not texts:
        return None
    text = texts[0]
    if len(set(texts)) > 1:
        refuse("idempotency-key", "idempotency-key is there twice, with different values")
    if not (1 <= len(text) <= 255 and text.isascii() and text.isprintable()):
        refuse("idempotency-key", "idempotency-key must be 1 to 255 printable ASCII characters")
    return text


def _short(query: Mapping[str, str], name: str, longest: int) -> str | None:
    text = query.get(name)
    if text is not None and len(text) > longest:
        refuse(name, f"{name} must be at most {longest} characters")
    return text or None


def _flag(body: Object, name: str) -> bool:
    value = body.get(name)
    if value is not None and type(value) is not bool:
        refuse(name, f"{name} must be true or false, not {kind_of(value)}")
    return bool(value)


def switched(query: Mapping[str, str], name: str) -> bool | None:
    """A yes or no of a query; None when it is not there."""
    text = query.get(name)
    if text is None or text == "":
        return None
    if text not in ("0", "1", "true", "false"):
        refuse(name, f"{name} must be 1 or 0")
    return text in ("1", "true")


# ── messages ───────────────────────────────────────────────────────────────────────────────────


def turns(value: Json, field: str, *, least: int) -> tuple[Turn, ...]:
    """Messages, in order. RequestTooLarge for one that could not be kept."""
    if type(value) is not list:
        refuse(field, f"{field} must be an array of messages, not {kind_of(value)}")
    if not least <= len(value) <= MOST_TURNS:
        refuse(field, f"{field} must hold {least} to {MOST_TURNS} messages")
    found = tuple(_turn(item, f"{field}[{index}]") for index, item in enumerate(value))
    ids = [turn.draft.id for turn in found if turn.draft.id is not None]
    if len(set(ids)) < len(ids):
        refuse(field, f"{field} holds an id twice")
    return found


def _turn(raw: Json, at: str) -> Turn:
    if type(raw) is not dict:
        refuse(at, f"{at} must be an object, not {kind_of(raw)}")
    role = raw.get("role")
    if role not in _ROLES:
        refuse(f"{at}.role", f"{at}.role must be user, assistant or system")
    key = "content" if raw.get("content") is not None else "message"
    text, media = _content(raw.get(key), f"{at}.{'content' if key not in raw else key}")
    if role == "user" and not text and not media:
        refuse(f"{at}.content", f"{at}.content must not be empty")
    draft = Draft(
        role=role,
        text=text or (WORDLESS if media else text),
        id=message_id(raw["id"], f"{at}.id") if raw.get("id") is not None else None,
        created=_time(raw.get("createdAt"), f"{at}.createdAt"),
        updated=_time(raw.get("updatedAt"), f"{at}.updatedAt"),
        more=_more(raw, at),
    )
    check_size(draft)
    return Turn(text=text, draft=draft, media=media)


def _content(value: Json, at: str) -> tuple[str, tuple[Media, ...]]:
    if type(value) is str:
        return value, ()
    if type(value) is not list:
        refuse(at, f"{at} must be text, or an array of parts, not {kind_of(value)}")
    texts: list[str] = []
    media: list[Media] = []
    for index, part in enumerate(value):
        here = f"{at}[{index}]"
        kind = part.get("type") if type(part) is dict else None
        if kind == "text" and type(part.get("text")) is str:
            texts.append(part["text"])
        elif kind == "image_url":
            media.append(_image(part.get("image_url"), here))
        else:
            refuse(here, f"{here} must be a text or an image_url part")
    return "\n".join(texts), tuple(media)


def _image(value: Json, at: str) -> Media:
    url = value.get("url") if type(value) is dict else value
    if type(url) is str and (data := _IMAGE.fullmatch(url)):
        return Media(kind="image", mime_type=data[1].lower(), base64=data[2], at=at)
    if type(url) is not str or not url.startswith(("https://", "http://")):
        refuse(f"{at}.image_url", f"{at}.image_url.url must be an http, https or data URL")
    return Media(kind="image", url=url, at=at)


def _more(raw: Object, at: str) -> Object:
    """What is kept beside the words."""
    more: Object = {}
    if (json := raw.get("json")) is not None:
        if type(json) is not str:
            refuse(f"{at}.json", f"{at}.json must be text, not {kind_of(json)}")
        more["json"] = json
    for key in _LISTS:
        if (steps := raw.get(key)) is not None:
            if type(steps) is not list or any(type(step) is not dict for step in steps):
                refuse(f"{at}.{key}", f"{at}.{key} must be an array of objects")
            more[key] = steps
    if (tools := raw.get("tools")) is not None:
        if type(tools) is not dict:
            refuse(f"{at}.tools", f"{at}.tools must be an object, not {kind_of(tools)}")
        more["tools"] = tools
    return more


def _time(value: Json, at: str) -> int | None:
    """Milliseconds of an RFC 3339 time."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if type(value) is str else None
    except ValueError:
        moment = None
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = int((moment - _EPOCH).total_seconds() * 1000) if moment is not None else -1
    if not 0 <= milliseconds <= _LAST_MOMENT:
        refuse(at, f"{at} must be a time such as 2026-01-31T12:00:00.000Z")
    return milliseconds


# ── a generation ───────────────────────────────────────────────────────────────────────────────


def ask(body: Object, query: Mapping[str, str]) -> Ask:
    """A generation that is asked for."""
    if "chat_history" not in body:
        refuse("chat_history", "chat_history is required: an array of messages")
    history = turns(body["chat_history"], "chat_history", least=1)
    if history[-1].draft.role != "user":
        refuse(f"chat_history[{len(history) - 1}].role", "the last message of chat_history must be the user's")
    switches, functions = _tools(body.get("tools"))
    return Ask(
        history=history,
        persona=_persona(body.get("persona")),
        switches=switches,
        functions=functions,
        scope=_scope(body.get("scope")),
        stream=_flag(body, "stream"),
        voice=_flag(body, "voice"),
        context=_context(body.get("fastContext")),
        chat_id=_which_chat(body, query),
        username=_short(query, "username", 128),
        source=_short(query, "source", 64) or SOURCE,
        title=title(query["title"]) if query.get("title") else None,
        deltas=switched(query, "deltas"),
    )


def _persona(value: Json) -> str:
    if value is not None and type(value) is not str:
        refuse("persona", f"persona must be text, not {kind_of(value)}")
    return value or ""


def _scope(value: Json) -> Scope:
    if value in (None, "internal"):
        return "internal"
    if value != "external" or type(value) is not str:
        refuse("scope", "scope must be internal or external")
    return "external"


def _which_chat(body: Object, query: Mapping[str, str]) -> str | None:
    said = [chat_id(value) for value in (query.get("chatId"), body.get("chatId")) if value not in (None, "")]
    if len(set(said)) > 1:
        refuse("chatId", "chatId of the query and of the body are not the same")
    return said[0] if said else None


def _tools(value: Json) -> tuple[dict[str, bool], tuple[str, ...]]:
    """Switches that are on (True: with options), or the names of functions."""
    if value is None:
        return {}, ()
    if type(value) is list:
        return {}, tuple(_function(tool, f"tools[{index}]") for index, tool in enumerate(value))
    if type(value) is not dict:
        refuse("tools", f"tools must be an object of switches or an array of tools, not {kind_of(value)}")
    for name, on in value.items():
        if type(on) not in (bool, dict):
            refuse(f"tools.{name}", f"tools.{name} must be true, false or an object, not {kind_of(on)}")
    return {name: bool(on) and on is not True for name, on in value.items() if on is not False}, ()


def _function(tool: Json, at: str) -> str:
    function = tool.get("function") if type(tool) is dict and tool.get("type") == "function" else None
    name = function.get("name") if type(function) is dict else None
    if type(name) is not str or not 1 <= len(name) <= 128:
        refuse(at, f"{at} must be a tool of type function with a name")
    return str(name)


def _context(value: Json) -> tuple[Json, ...]:
    if value is None:
        return ()
    if type(value) is not list or any(type(item) not in (dict, str) for item in value):
        refuse("fastContext", "fastContext must be an array of objects or texts")
    if len(value) > MOST_CONTEXT or len(msgspec.json.encode(value)) > MOST_CONTEXT_BYTES:
        refuse(
            "fastContext",
            f"fastContext must hold at most {MOST_CONTEXT} items and {MOST_CONTEXT_BYTES >> 10} KiB in all",
        )
    return tuple(value)


# ── a page of the history ──────────────────────────────────────────────────────────────────────


def wanted(query: Mapping[str, str], after: tuple[int, str] | None) -> Wanted:
    text = query.get("limit") or str(LONGEST_PAGE)
    limit = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
    if not 1 <= limit <= LONGEST_PAGE:
        refuse("limit", f"limit must be a number from 1 to {LONGEST_PAGE}")
    return Wanted(
        limit=limit,
        after=after,
        pinned=switched(query, "pinned"),
        source=_short(query, "source", 64),
        text=_short(query, "q", LONGEST_TITLE),
    )


def made_title(history: Sequence[Turn], longest: int = 60) -> str:
    """Of the first words of the user, cut at the end of one."""
    words = " ".join(next((turn.text for turn in history if turn.draft.role == "user"), "").split())
    if not words:
        return "New chat"
    if len(words) <= longest:
        return words
    cut = words[: longest + 1].rpartition(" ")[0]
    return (cut or words[:longest]) + "…"
