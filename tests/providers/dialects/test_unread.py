"""What no codec reads of an answer is found, by its path."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import Logprobs, TokenLogprob
from providers.canonical.loss import Losses
from providers.canonical.stream import ChoiceEnd, ResponseEnd
from providers.dialects import DIALECTS
from providers.dialects.unread import MOST, Shape, Unread, around, by_type, find, kept, known, lose_weights, own_extra

Json = Any
SHAPE = known("id", usage=kept("count", parts=known("kind")), items=by_type({"text": known("type", "text")}))


def found(value: Json, shape: Shape = SHAPE) -> dict[str, Json]:
    out: dict[str, Json] = {}
    find(value, shape, out)
    return out


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"id": 1, "usage": {"count": 2}, "items": []}, {}),
        ({"x": 1}, {"x": Unread(1)}),
        ({"usage": {"x": 1}}, {"usage.x": Unread(1, kept=True)}),
        ({"usage": {"parts": [{"kind": 1}, {"x": 0}]}}, {"usage.parts[1].x": Unread(0, kept=True)}),
        ({"items": [{"type": "text", "x": "a"}]}, {"items[0].x": Unread("a")}),
        ({"items": [{"type": "odd", "x": "b"}, {"x": "c"}, {"type": [], "x": 1}]}, {}),
        ({"x": None, "y": "", "z": [], "w": {}}, {}),
        ({"usage": 5, "items": {"type": "text"}}, {}),
        ("no object", {}),
    ],
)
def test_what_is_not_in_the_shape_is_found(value: Json, expected: Json) -> None:
    """With its path, where it says something; what is of an unknown type is not looked into."""
    assert expected == found(value)


def test_further_fields_may_be_somebody_elses() -> None:
    """Only what stands deeper is found."""
    assert {"usage.y": Unread(2)} == found({"x": 1, "usage": {"y": 2}}, around(usage=known()))


def test_what_one_answer_may_invent_is_bounded() -> None:
    """A name for each event fills no memory."""
    out: dict[str, Json] = {}
    for i in range(3 * MOST):
        find({f"x{i}": 1}, SHAPE, out)

    assert MOST == len(out)


def test_its_own_dialect_writes_nothing_of_it() -> None:
    """What its callers get all the same is no loss; what they do not get is named."""
    losses: Losses = []
    extra = {"a": 1, "usage.x": Unread(1, kept=True), "delta.x": Unread(1)}

    assert {"a": 1} == own_extra(extra, losses)
    assert [("delta.x", "dropped")] == [(one.field, one.kind) for one in losses]
    assert {} == own_extra(None, losses)


def test_probabilities_are_named_once() -> None:
    """However many tokens, and chunks, say the same."""
    losses: Losses = []
    token = TokenLogprob(token="a", logprob=-1.0, extra={"x": 1}, top=(TokenLogprob(token="b", logprob=-2.0),))
    weights = Logprobs(content=(token, token), extra={"y": 1})
    for _ in range(3):
        lose_weights(weights, losses, tokens=True)

    assert ["y", "x"] == [one.field for one in losses]
    losses.clear()
    lose_weights(weights, losses, tokens=False)
    assert ["y"] == [one.field for one in losses]


CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"x","a@":1},"b@":1}],"c@":1}\n\n'
LINE = '{"message":{"content":"x"},"done":false,"c@":1}\n'
CANDIDATE = 'data: {"candidates":[{"content":{"parts":[{"text":"x"}]},"b@":1}],"c@":1}\n\n'


@pytest.mark.parametrize(
    ("name", "line", "end"),
    [
        ("openai.chat", CHUNK, 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'),
        ("ollama.chat", LINE, '{"message":{"content":""},"done":true,"done_reason":"stop"}\n'),
        ("gemini", CANDIDATE, 'data: {"candidates":[{"content":{"parts":[]},"finishReason":"STOP"}]}\n\n'),
    ],
)
def test_names_that_are_new_in_each_event_fill_no_memory(name: str, line: str, end: str) -> None:
    """Of each level as many are kept as of an answer."""
    decoder = DIALECTS[name].stream_decoder()
    data = "".join(line.replace("@", str(number)) for number in range(1000)) + end
    events = [*decoder.feed(data.encode()), *decoder.close()]
    ends = [one.extra for one in events if isinstance(one, ChoiceEnd | ResponseEnd) and one.extra]

    for extra in ends:
        assert MOST <= len(extra) <= 2 * MOST
    assert ends
