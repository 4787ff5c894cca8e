"""What the parts of the dialect share: its names, ids of items, ends of answers, and states that travel in an item.

Two kinds of state stand in the `encrypted_content` of a reasoning item. OpenAI's own becomes a `Seal` that holds the
whole item, for the state is good only together with its id. A signature of another vendor's model has no place of its
own here, so it travels in an item that we make (`carry`), which callers echo like any other, and is known again when
it returns (`carried`). Upstreams never see those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from providers.canonical.chat import Finish, FinishReason, Seal
from providers.dialects._openai.values import Json, Object
from providers.wire.json import encode

NAME = "openai.responses"
FAMILY = "openai"

# ── ids ────────────────────────────────────────────────────────────────────────────────

#: Stands in every id and state that is ours.
MARK = "isthmus"


def response_id(given: str | None, model: str | None) -> str:
    """The id of an answer, in this dialect's form whoever gave it."""
    if given is None:
        return f"resp_{digest(model or '')}"
    return given if given.startswith("resp_") else f"resp_{given}"


def digest(text: str) -> str:
    """What ids are made from: the same for the same text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def made_id(prefix: str, seed: str, number: int) -> str:
    """The id of an item that came without one. Upstreams of this dialect insist on the prefix and on 64 characters."""
    return f"{prefix}_{MARK}{seed}{number}"


def is_made(identifier: Json) -> bool:
    """Is it an id that `made_id` made?"""
    return isinstance(identifier, str) and identifier.partition("_")[2].startswith(MARK)


# ── ends ───────────────────────────────────────────────────────────────────────────────

_REASONS: Mapping[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_INCOMPLETE: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
_COMPLETE = frozenset({"stop", "tool_calls", "refusal"})


def finish_of(body: Mapping[str, Json], *, calls: bool, refused: bool) -> Finish:
    """Why an answer ended. Servers that leave the status out have completed it."""
    if body.get("status") == "incomplete":
        details = body.get("incomplete_details")
        word = details.get("reason") if isinstance(details, dict) else None
        raw = word if isinstance(word, str) else "incomplete"
        return Finish(reason=_REASONS.get(raw, "other"), raw=raw)
    return Finish(reason="tool_calls" if calls else "refusal" if refused else "stop", raw="completed")


class Ending(NamedTuple):
    """`status` and `incomplete_details` of an answer, and whether they say all of its finish."""

    status: str
    details: Object | None
    same: bool


def ending(finish: Finish | None, own: bool, refused: bool) -> Ending:
    """How a finish is written. `own`: reasons of this dialect's that we have no word for come back as they were.

    `refused`: a part of the answer says so; a refusal without one is the work of a filter.
    """
    if finish is None:
        return Ending("completed", None, True)
    reason = _INCOMPLETE.get("content_filter" if finish.reason == "refusal" and not refused else finish.reason)
    if reason is None and own and finish.reason == "other" and finish.raw:
        reason = finish.raw
    if reason is not None:
        return Ending("incomplete", {"reason": reason}, True)
    return Ending("completed", None, finish.reason in _COMPLETE and not finish.failed)


# ── OpenAI's own state ─────────────────────────────────────────────────────────────────


def seal_of(item: Object, at: str = "") -> Seal | None:
    """A reasoning item as a seal, if it has a state that can be sent back."""
    return Seal(value=encode(item).decode(), origin=FAMILY, at=at) if item.get("encrypted_content") else None


def sealed_item(seal: Seal | None) -> Object | None:
    """The reasoning item of a seal that `seal_of` made."""
    if seal is None or seal.origin != FAMILY:
        return None
    try:
        return msgspec.json.decode(seal.value, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return None


# ── other vendors' signatures ──────────────────────────────────────────────────────────

_TAG = f"{MARK}:"


class Carried(NamedTuple):
    """A signature of `origin`. `kind`: `self`, of the reasoning that it stands with; `call`, of the call with the id
    `of`; `text`, of the text before it, `of` characters long.
    """

    origin: str
    kind: str
    of: str | int
    value: str


_decode_carried = msgspec.json.Decoder(tuple[str, str, str | int, str]).decode


def carry(seal: Seal, kind: str, of: str | int = "") -> str:
    """A foreign seal as the text of an `encrypted_content`."""
    return _TAG + encode((seal.origin, kind, of, seal.value)).decode()


def carried(text: Json) -> Carried | None:
    """The foreign seal in an `encrypted_content`; None where it is OpenAI's own."""
    if not isinstance(text, str) or not text.startswith(_TAG):
        return None
    try:
        return Carried(*_decode_carried(text[len(_TAG) :]))
    except msgspec.MsgspecError:
        return None


def is_ours(item: Json) -> bool:
    """Is it a reasoning item that no upstream of this dialect made?"""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    return is_made(item.get("id")) or carried(item.get("encrypted_content")) is not None
