"""Streams, read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.chat import (
    ChatResponse,
    Choice,
    Citation,
    Finish,
    Logprobs,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)
from providers.canonical.errors import (
    BadUpstreamBytes,
    ConnectionLost,
    RouterError,
    StreamTruncated,
    UpstreamBusy,
    UpstreamFailed,
)
from providers.canonical.stream import TextDelta, fold, unfold
from tests.corpus import schema
from tests.providers.dialects.gemini.spoken import (
    GEMINI,
    Json,
    candidate,
    chunks,
    decoded,
    events,
    request,
    sse,
    told,
    written,
)

END = {"candidates": [candidate({"text": ""})], "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}}


def part(value: Json, **fields: Json) -> Json:
    return {"candidates": [{"content": {"role": "model", "parts": [value]}, "index": 0, **fields}], "responseId": "r1"}


def parts_of(*values: Json) -> tuple[Any, ...]:
    return fold(events(sse(*(part(value) for value in values), END))).choices[0].parts


def fails(data: bytes) -> tuple[list[Any], RouterError]:
    """The events before a fault, and the fault."""
    decoder = GEMINI.stream_decoder()
    found: list[Any] = []
    with pytest.raises(RouterError) as caught:
        found += decoder.feed(data)
        found += decoder.close()
    return found, caught.value


# ── reading ────────────────────────────────────────────────────────────────────────────


def test_texts_of_one_kind_are_one_part() -> None:
    """Until the kind changes or one is signed; an empty text without a signature is nothing."""
    found = parts_of(
        {"text": "h", "thought": True},
        {"text": "m", "thought": True},
        {"text": "A"},
        {"text": ""},
        {"text": "B"},
        {"text": "C", "thoughtSignature": "s"},
        {"text": "D"},
        {"text": "", "thoughtSignature": "t"},
    )

    assert (
        Reasoning(text="hm"),
        Text(text="AB"),
        Text(text="C", seal=Seal(value="s", origin="gemini")),
        Text(text="D"),
        Text(text="", seal=Seal(value="t", origin="gemini")),
    ) == found


def test_calls_come_whole() -> None:
    """Parallel calls in one chunk or in several; arguments as they were written; the finish is that of calls."""
    data = (
        b'data: {"candidates":[{"content":{"parts":[{"text":"x"},'
        b'{"functionCall":{"name":"f","args":{"a": 1.10}}}]}}]}\n\n'
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"g","id":"q"}}]},'
        b'"finishReason":"STOP"}]}\n\n'
    )
    choice = fold(events(data)).choices[0]

    assert [("f", '{"a":1.10}', True), ("g", "{}", False)] == [
        (one.name, one.arguments, one.invented_id) for one in choice.parts if isinstance(one, ToolCall)
    ]
    assert Finish(reason="tool_calls", raw="STOP") == choice.finish


def test_pictures_and_blocks_come_whole() -> None:
    """They need no pieces."""
    image, code = parts_of(
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"executableCode": {"code": "1", "language": "PYTHON"}},
    )

    assert isinstance(image, Media)
    assert "executableCode" == code.kind


def test_a_result_that_the_model_gives_itself_is_not_lost() -> None:
    """Only callers say such."""
    raw = {"functionResponse": {"name": "f", "response": {"a": 1}}}

    assert Opaque(dialect="gemini", kind="functionResponse", raw=raw, form={"whole": True}) == parts_of(raw)[0]


def test_usage_is_replaced_never_added() -> None:
    """The last one counts."""
    first = {**part({"text": "x"}), "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 1}}

    assert (9, 2) == (
        fold(events(sse(first, END))).usage.input_tokens,  # type: ignore[union-attr]  # there is one
        fold(events(sse(first, END))).usage.output_tokens,  # type: ignore[union-attr]  # there is one
    )


def test_candidates_are_kept_apart() -> None:
    """Each by its index, whatever order they come in."""
    both = {"candidates": [{**candidate({"text": "B"}), "index": 1}, candidate({"text": "A"})]}

    assert [(0, "A"), (1, "B")] == [(one.index, one.parts[0].text) for one in fold(events(sse(both))).choices]  # type: ignore[union-attr]  # texts


def test_feedback_beside_an_answer_is_kept() -> None:
    """In whatever chunk it comes, also with others' fields that have no canonical place."""
    chunk = {"candidates": [candidate({"text": "x"})], "promptFeedback": {"safetyRatings": []}}

    assert {"promptFeedback": {"safetyRatings": []}} == fold(events(sse(part({"text": "a"}), chunk))).extra


def test_a_blocked_prompt() -> None:
    """promptFeedback, then the end of the input."""
    response = fold(
        events(sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}))
    )

    assert "SAFETY" == response.blocked.raw  # type: ignore[union-attr]  # it is blocked
    assert () == response.choices


def test_sources_come_with_the_end() -> None:
    """groundingMetadata in the last chunk cites the text that is still open."""
    metadata = {
        "groundingChunks": [{"web": {"uri": "https://h", "title": "T"}}],
        "groundingSupports": [{"segment": {"endIndex": 4, "text": "x€"}, "groundingChunkIndices": [0]}],
    }
    last = {"candidates": [candidate({"text": "", "thoughtSignature": "s"}, groundingMetadata=metadata)]}
    choice = fold(events(sse(part({"text": "x"}), part({"text": "€ y"}), last))).choices[0]

    assert (Citation(url="https://h", title="T", start=0, end=2),) == choice.parts[0].citations  # type: ignore[union-attr]  # a text
    assert {"groundingMetadata": metadata} == choice.extra


def test_logprobs_go_on() -> None:
    """Tokens of all chunks."""
    tokens = [{"chosenCandidates": [{"token": word, "logProbability": -1}]} for word in "ab"]
    data = sse(part({"text": "a"}, logprobsResult=tokens[0]), part({"text": "b"}, logprobsResult=tokens[1]), END)

    assert ["a", "b"] == [one.token for one in fold(events(data)).choices[0].logprobs.content]  # type: ignore[union-attr]  # there are some


def test_arguments_in_pieces() -> None:
    """Vertex builds them by path; a call `{}` ends the one before, and text goes on under the same path."""
    pieces = [
        {"name": "f", "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.a.b[1].c", "stringValue": "x", "willContinue": True}], "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.a.b[1].c", "stringValue": "y"}], "willContinue": True},
        {"partialArgs": [{"jsonPath": "$['n']", "numberValue": 2}, {"jsonPath": "$.z", "nullValue": "NULL_VALUE"}]},
        {},
        {"name": "g", "willContinue": True},
        {},
    ]
    f, g = parts_of(*({"functionCall": piece} for piece in pieces))

    assert {"a": {"b": [None, {"c": "xy"}]}, "n": 2, "z": None} == json.loads(f.arguments)
    assert ("g", "{}") == (g.name, g.arguments)


@pytest.mark.parametrize("array", [False, True])
def test_an_error_in_the_stream_is_raised(array: bool) -> None:
    """What came before it is given out first."""
    error = {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}
    data = json.dumps([part({"text": "x"}), error]).encode() if array else sse(part({"text": "x"}), error)
    found, fault = fails(data)

    assert UpstreamBusy is type(fault)
    assert "x" == next(one.text for one in found if isinstance(one, TextDelta))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", StreamTruncated),
        (b": ping\n\n", StreamTruncated),
        (sse(part({"text": "x"})), StreamTruncated),
        (sse(part({"text": "x"})) + b'data: {"candi', StreamTruncated),
        (b'[{"candidates":[]', StreamTruncated),
        (json.dumps([part({"text": "x"})]).encode()[:-1], StreamTruncated),
        (sse({"usageMetadata": {"promptTokenCount": 1}}), UpstreamFailed),
        (b'{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}', UpstreamFailed),
        (b"data: <html>\n\n", BadUpstreamBytes),
        (b"data: [1]\n\n", BadUpstreamBytes),
        (b'{"candidates":', BadUpstreamBytes),
        (sse({"candidates": [1]}), BadUpstreamBytes),
        (sse({"candidates": [{"index": "x"}]}), BadUpstreamBytes),
        (sse({"candidates": [{"content": 1}]}), BadUpstreamBytes),
        (sse(part({"text": 1})), BadUpstreamBytes),
        (sse({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "f("}]}), UpstreamFailed),
    ],
)
def test_faults(data: bytes, kind: type[RouterError]) -> None:
    """A stream that ends early, or holds what it must not, is never a clean end."""
    assert kind is type(fails(data)[1])


def test_a_whole_answer_is_a_stream_too() -> None:
    """S18: plain JSON although a stream was asked for."""
    whole = json.dumps({"candidates": [candidate({"text": "Hi"})], "responseId": "r"}).encode()

    assert "Hi" == fold(events(whole, 3)).choices[0].parts[0].text  # type: ignore[union-attr]  # a text


def test_done_is_not_needed() -> None:
    """Some servers add the other dialect's end mark, or leave the last empty line out."""
    data = sse(part({"text": "x"}), END)

    assert events(data) == events(data + b"data: [DONE]\n\n") == events(data.rstrip())


def test_lone_surrogates_are_replaced() -> None:
    """An emoji that was split across chunks does not end the stream."""
    data = b'data: {"candidates":[{"content":{"parts":[{"text":"a\\ud83d"}]},"finishReason":"STOP"}]}\n\n'

    assert "a\ufffd" == fold(events(data)).choices[0].parts[0].text  # type: ignore[union-attr]  # a text


# ── writing ────────────────────────────────────────────────────────────────────────────


def response(*parts: Any, **fields: Any) -> ChatResponse:
    choice = Choice(parts=parts, finish=Finish(reason="stop"), **fields)
    return ChatResponse(
        dialect="x", id="r1", model="m", choices=(choice,), usage=Usage(input_tokens=3, output_tokens=2)
    )


def test_chunks() -> None:
    """One chunk for each text, calls when they are whole, and a last one with the reason and the usage."""
    answer = response(
        Reasoning(text="hm"), Text(text="Hi\u2028"), ToolCall(id="c", name="f", arguments='{"a":1}'), Refusal(text="no")
    )
    found = chunks(written(list(unfold(answer))))
    bodies = [chunk["candidates"][0]["content"]["parts"][0] for chunk in found]

    assert [
        {"text": "hm", "thought": True},
        {"text": "Hi\u2028"},
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}},
        {"text": "no"},
        {"text": ""},
    ] == bodies
    assert all(("m", "r1") == (chunk["modelVersion"], chunk["responseId"]) for chunk in found)
    assert "STOP" == found[-1]["candidates"][0]["finishReason"]
    assert {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5} == found[-1]["usageMetadata"]


def test_line_separators_are_escaped() -> None:
    """Readers in common clients split lines on them."""
    assert b"\\u2028" in written(list(unfold(response(Text(text="\u2028")))))


def test_an_array_is_opened_with_its_first_element_and_closed() -> None:
    """Without alt=sse the caller gets one JSON array."""
    stream = list(unfold(response(Text(text="Hi"))))
    encoder = GEMINI.stream_encoder(request(), [])
    pieces = [encoder.feed(event) for event in stream]

    assert b"" == pieces[0]
    assert pieces[1].startswith(b"[{")
    assert 2 == len(json.loads(b"".join(pieces) + encoder.close()))
    assert "application/json" == encoder.content_type


@pytest.mark.parametrize("alt", ["sse", "json"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_fault_is_the_last_element(alt: str, before: int) -> None:
    """An error event, or an error element and the bracket; no finish reason."""
    caller = GEMINI.decode_request(_asked(alt))
    encoder = GEMINI.stream_encoder(caller, [])
    data = b"".join(encoder.feed(event) for event in list(unfold(response(Text(text="Hi"))))[: 1 + before])
    data += encoder.error(ConnectionLost("the connection broke"))
    found = chunks(data) if alt == "sse" else json.loads(data)

    assert before + 1 == len(found)
    assert (502, "UNAVAILABLE") == (found[-1]["error"]["code"], found[-1]["error"]["status"])
    assert b"finishReason" not in data


def _asked(alt: str) -> Any:
    from tests.providers.dialects.gemini.spoken import HI, asked

    return asked(HI, task="streamGenerateContent", alt=alt)


def test_malformed_arguments_are_a_finish_reason() -> None:
    """As in a whole answer."""
    last = chunks(written(list(unfold(response(ToolCall(id="c", name="f", arguments="{"))))))[-1]["candidates"][0]

    assert "MALFORMED_FUNCTION_CALL" == last["finishReason"]


def test_seals() -> None:
    """A signature of this family comes on its call or on an empty part; another's is lost."""
    own, foreign = Seal(value="s", origin="gemini"), Seal(value="t", origin="anthropic")
    losses: list[Any] = []
    answer = response(
        Text(text="Hi", seal=own),
        Reasoning(text="hm", seal=foreign),
        ToolCall(id="c", name="f", arguments="", seal=own),
    )
    found = [
        chunk["candidates"][0]["content"]["parts"][0] for chunk in chunks(written(list(unfold(answer)), "sse", losses))
    ]

    assert [None, "s", None, "s", None] == [one.get("thoughtSignature") for one in found]
    assert ["signature"] == [loss.field for loss in losses]


def test_blocked_prompts_are_told() -> None:
    """One chunk with promptFeedback."""
    blocked = ChatResponse(dialect="x", blocked=Finish(reason="content_filter", raw="SAFETY"))

    assert {"blockReason": "SAFETY"} == chunks(written(list(unfold(blocked))))[-1]["promptFeedback"]


WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
PARTS = st.one_of(
    st.builds(Text, text=WORDS),
    st.builds(Reasoning, text=WORDS),
    st.builds(
        ToolCall, id=st.just("c"), name=st.sampled_from(["f", "g"]), arguments=st.sampled_from(["{}", '{"a":"é"}'])
    ),
    st.builds(Media, kind=st.just("image"), mime_type=st.just("image/png"), base64=st.just("AA==")),
)
TOKENS = st.none() | st.builds(Logprobs, content=st.just((TokenLogprob(token="a", logprob=-1.0),)))


@given(st.lists(PARTS, min_size=1, max_size=5), TOKENS, st.sampled_from(["sse", "json"]), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_a_stream_says_what_the_whole_says(parts: list[Any], tokens: Any, alt: str, step: int) -> None:
    """An answer told as a stream and read again, at any cut, is the answer told whole and read again."""
    answer = response(*parts, logprobs=tokens)
    data = written(list(unfold(answer)), alt)
    streamed = fold(events(data, step)).choices[0]
    whole = GEMINI.decode_response(_wire(told(answer))).choices[0]
    check = schema("gemini.v1beta.response", "GenerateContentResponse")
    for chunk in chunks(data) if alt == "sse" else json.loads(data):
        check.validate(chunk)

    assert _joined(whole.parts) == _joined(streamed.parts)
    assert (whole.finish, whole.logprobs) == (streamed.finish, streamed.logprobs)


def _wire(body: Json) -> Any:
    from providers.dialect import WireResponse

    return WireResponse(status=200, body=json.dumps(body, ensure_ascii=False).encode())


def _joined(parts: Any) -> list[Any]:
    """Parts with neighbouring texts of one kind joined."""
    found: list[Any] = []
    for one in parts:
        if found and type(found[-1]) is type(one) and isinstance(one, Text | Reasoning):
            found[-1] = type(one)(text=found[-1].text + one.text)
        else:
            found.append(one)
    return found


@pytest.mark.parametrize("value", [True, 1, "x", {}])
def test_candidates_are_an_array(value: Json) -> None:
    """Anything else is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        events(sse({"candidates": value}))


@pytest.mark.parametrize("index", [[0], {"a": 1}, "1"])
def test_an_index_is_a_number(index: Json) -> None:
    """Anything else is the upstream's fault."""
    with pytest.raises(BadUpstreamBytes):
        events(sse({"candidates": [candidate({"text": "x"}) | {"index": index}]}))


def test_prettily_written_arguments_stay_in_their_event() -> None:
    """Line ends between the values of a call's arguments do not end the line of the event."""
    call = ToolCall(id="c", name="f", arguments='{\n  "city": "Paris",\r\n  "n": 1.50\n}')
    encoder = GEMINI.stream_encoder(decoded({"contents": [{"parts": [{"text": "Hi"}]}]}, alt="sse"), [])
    whole = ChatResponse(choices=(Choice(parts=(call,), finish=Finish(reason="tool_calls")),))

    out = b"".join([*map(encoder.feed, unfold(whole)), encoder.close()])

    assert b'"args":{  "city": "Paris",  "n": 1.50},' in out
    assert all(line.startswith(b"data: {") for line in out.split(b"\n\n") if line)
