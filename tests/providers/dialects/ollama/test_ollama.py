"""The dialect as the rest of the program sees it."""

from __future__ import annotations

import json

import pytest

from providers.canonical.chat import TokenCount
from providers.canonical.errors import BadUpstreamBytes
from providers.canonical.stream import fold
from providers.dialects import DIALECTS
from tests.providers.dialects.ollama.speak import OLLAMA, answered, events, foreign, line, ndjson


def test_is_registered() -> None:
    """Under its own name, with what each task is."""
    assert "ollama.chat" == DIALECTS["ollama.chat"].name
    assert ["chat", "chat", "embeddings"] == [OLLAMA.operation(task) for task in ("chat", "generate", "embed")]


def test_path() -> None:
    """`base_url` is the bare host; a stream is asked for as what it is."""
    whole, stream = (OLLAMA.encode_request(foreign(stream=stream), []) for stream in (False, True))

    assert ("POST", "/api/chat", "/api/chat") == (whole.method, whole.path, stream.path)
    assert ("application/json", "application/x-ndjson") == (whole.headers["accept"], stream.headers["accept"])


def test_a_count() -> None:
    """A plain object: the dialect has none of its own."""
    assert {"prompt_eval_count": 7} == json.loads(OLLAMA.encode_count(TokenCount(total_tokens=7)).body)


def test_a_stream_under_the_type_of_a_whole_answer() -> None:
    """Lines that come as one JSON answer are the answer that they spell; what is neither stays an error."""
    data = ndjson(line("Hel"), line("lo"), line(done="stop"))

    assert fold(events(data)) == OLLAMA.decode_response(answered(data))
    with pytest.raises(BadUpstreamBytes):
        OLLAMA.decode_response(answered(b"<html>no</html>"))
