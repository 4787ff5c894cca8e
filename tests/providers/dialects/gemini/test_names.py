"""Spelling, and JSON text that must survive."""

from __future__ import annotations

import pytest

from providers.dialects.gemini.names import camel, plain, raw_answer, raw_contents, raw_part, respelled


@pytest.mark.parametrize(("written", "name"), [("mime_type", "mimeType"), ("mimeType", "mimeType"), ("top_k", "topK")])
def test_camel(written: str, name: str) -> None:
    """Both spellings of a field are one name."""
    assert name == camel(written)


def test_spelling_is_remembered() -> None:
    """An object in camelCase knows how it was spelled."""
    names: dict[str, str] = {}
    value = plain({"mime_type": 1, "data": 2}, names)

    assert {"mimeType": 1, "data": 2} == value
    assert {"mime_type": 1, "data": 2} == respelled(value, names)


def test_raw_arguments_keep_their_spelling() -> None:
    """Numbers and the order of keys stay as they were written, white space goes."""
    data = b'[{"parts":[{"text":"x"},{"functionCall":{"name":"f","args":{ "b": 1.10, "a": 1e2 }}}]}]'
    part = raw_part(raw_contents(data), 0, 1)

    assert part is not None
    assert '{"b":1.10,"a":1e2}' == part.args


def test_raw_results_keep_their_spelling() -> None:
    """Also results, also in snake_case."""
    part = raw_part(raw_contents(b'[{"parts":[{"function_response":{"response":{"n":100000000000000000000}}}]}]'), 0, 0)

    assert part is not None
    assert '{"n":100000000000000000000}' == part.response


@pytest.mark.parametrize(
    "data", [b"[]", b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}', b'{"args":1', b"\\ud83d"]
)
def test_where_there_are_none(data: bytes) -> None:
    """Bodies without arguments, or damaged ones, have no raw parts."""
    assert raw_part(raw_answer(data), 0, 0) is None
