"""Small shapes that both dialects share."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import Media, TokenLogprob
from providers.dialects._openai.values import (
    from_url,
    leftovers,
    read_token,
    restore,
    take_mark,
    to_url,
    write_token,
)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x.png",
        "data:image/png;base64,AAAA",
        "data:image/png;charset=x;base64,AAAA",
        "data:;base64,AAAA",
        "data:text/plain,a%20b",
        "data:,",
        "DATA:image/png;BASE64,AAAA",
    ],
)
def test_urls_come_back_as_they_were(url: str) -> None:
    """Taken apart or not, however they are spelled."""
    assert url == to_url(from_url(url, kind="image"), own=True)


def test_data_urls_are_taken_apart() -> None:
    """Another dialect gets the bytes and the type; without one it is text (RFC 2397)."""
    image, text = from_url("data:image/png;base64,AAAA", kind="image"), from_url("data:,a%20b", kind="file")

    assert ("image/png", "AAAA") == (image.mime_type, image.base64)
    assert ("text/plain", "YSBi") == (text.mime_type, text.base64)
    assert to_url(Media(kind="image", file_id="x"), own=False) is None


def test_leftovers() -> None:
    """Keys that say something are extra; those that only stand there are a spelling, and come back."""
    assert (None, None) == leftovers({})
    assert ({"a": 0, "b": False}, {"c": None, "d": "", "e": [], "f": {}}) == leftovers(
        {"a": 0, "b": False, "c": None, "d": "", "e": [], "f": {}}
    )
    assert {"c": 1, "d": ""} == restore({"c": 1}, {"keep": {"c": None, "d": ""}})


def test_marks() -> None:
    """Of two spellings at once the first is the mark; the other stays, to be named on its own."""
    rest: dict[str, Any] = {"cache_control": {"type": "ephemeral"}, "prompt_cache_breakpoint": {"ttl": "30m"}, "x": 1}
    mark, written = take_mark(rest, "p")

    assert ("30m", "p.prompt_cache_breakpoint") == (mark and mark.ttl, mark and mark.at)
    assert {"cache_control": {"type": "ephemeral"}, "x": 1} == rest
    assert {"prompt_cache_breakpoint": {"ttl": "30m"}} == written


def test_tokens_come_back_as_they_were() -> None:
    """Log probabilities with their alternatives, and keys that only one server has."""
    raw = {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
        "rank": 1,
    }

    assert raw == write_token(read_token(raw))


def test_bytes_of_a_token_are_those_of_its_text() -> None:
    """Where the server does not say; the schema asks for them."""
    token = TokenLogprob(token="é", logprob=-0.5)

    assert {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []} == write_token(token)
