"""What callers send, checked; most of it is tested by conversations in test_exchange.py and test_managing.py."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.errors import MalformedRequest
from router.chats.asking import ask, chat_id, made_title, switched, title, turns, wanted
from tests.chats import assistant, user


def asked(**more: Any) -> Any:
    return ask({"chat_history": [user("x")], **more}, {})


def test_what_is_not_said_has_the_documents_defaults() -> None:
    """No persona, no switches, internal, not streamed, not spoken."""
    found = asked()

    assert ("", {}, (), "internal", False, False, (), None, None, "platform.converse", None, None) == (
        *(found.persona, found.switches, found.functions, found.scope, found.stream, found.voice, found.context),
        *(found.chat_id, found.username, found.source, found.title, found.deltas),
    )


def test_switches_that_are_off_are_none() -> None:
    """False is not asked for; an object is, with options only if it holds some."""
    assert {"a": False, "c": False, "d": True} == asked(tools={"a": True, "b": False, "c": {}, "d": {"x": 1}}).switches


def test_a_chat_id_stands_in_query_or_body() -> None:
    """Both only if they are the same; upper case is the same; empty is none."""
    one, other = "a" * 24, "b" * 24
    history = {"chat_history": [user("x")]}

    assert one == ask({**history, "chatId": one}, {"chatId": one.upper()}).chat_id
    assert one == ask({**history, "chatId": ""}, {"chatId": one}).chat_id
    with pytest.raises(MalformedRequest, match="not the same"):
        ask({**history, "chatId": one}, {"chatId": other})


@pytest.mark.parametrize("value", ["", "x", "a" * 23, "a" * 25, "g" * 24, 1, None, ["a" * 24]])
def test_what_is_no_id_says_so(value: Any) -> None:
    """In the words of the document."""
    with pytest.raises(MalformedRequest, match=r"^Invalid chat ID format$"):
        chat_id(value)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("What's the\n  weather like?", "What's the weather like?"),
        ("word " * 20, "word word word word word word word word word word word word…"),
        ("x" * 70, "x" * 60 + "…"),
        ("x" * 60, "x" * 60),
        ("", "New chat"),
    ],
)
def test_a_title_is_made_of_the_first_words(text: str, made: str) -> None:
    """White space collapsed, cut at the end of a word within 60 characters."""
    history = turns(
        [assistant("before"), {"role": "assistant", "content": ""}, *([user(text)] if text else [])], "m", least=0
    )

    assert made == made_title(history)


def test_limits_of_texts() -> None:
    """Titles are trimmed; queries are numbers, yes or no."""
    assert "x" == title("  x ") and None is switched({}, "pinned") and switched({"pinned": "true"}, "pinned")
    for query in (
        {"limit": "0"},
        {"limit": "1e3"},
        {"limit": "٣"},
        {"pinned": "yes"},
        {"source": "x" * 65},
        {"q": "x" * 201},
    ):
        with pytest.raises(MalformedRequest):
            wanted(query, None)


@pytest.mark.parametrize("image", ["ftp://x/y.png", "data:text/html;base64,eA==", 1, {"url": None}])
def test_images_are_urls(image: Any) -> None:
    """http, https, or data of an image."""
    with pytest.raises(MalformedRequest, match="must be an http"):
        turns([user([{"type": "image_url", "image_url": image}])], "m", least=1)  # type: ignore[arg-type]
