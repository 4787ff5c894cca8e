"""The row `aleph-alpha`, through the running gateway, before a fake that refuses what the document refuses."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from tests.given.callers import BEARER, CALLERS, Caller, ask, before, deltas, finishes, text_of
from tests.given.fakes import (
    QUEUE_FULL,
    AlephAlpha,
    Scenario,
    bad_json,
    cut_after,
    fail,
    fail_then_ok,
    no_done,
    ok,
    redirect,
    reset,
    split_every_byte,
)

MODEL = "llama-3.1-70b-instruct"
ROW = "aleph-alpha"
HI = {"role": "user", "content": "Hi"}
callers = pytest.mark.parametrize("caller", CALLERS, ids=[caller.dialect for caller in CALLERS])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

#: The example of the document, with only the address and the key changed.
EXAMPLE = """
import os
from openai import OpenAI

client = OpenAI(
    api_key=os.environ["AA_TOKEN"],

    # The official SaaS URL or your own on-premise URL.
    base_url="https://api.aleph-alpha.com",
)

messages = client.chat.completions.create(
    # Pick a model that is chat-capable.
    model="llama-3.1-70b-instruct",

    # Activate streaming. This parameter is optional.
    stream=True,

    # Send the entire past conversation as well as your follow-up question.
    messages=[
        {
            "role": "user",
            "content": "What is answer to the ultimate question of life, the universe, and everything? Be brief.",
        },
        {
            "role": "assistant",
            "content": "42.",
        },
        {
            "role": "user",
            "content": "Why was that number chosen?",
        },
    ],
)

for message in messages:
    content = message.choices[0].delta.content
    if content != None:
        print(content)
    else:
        print("<end-of-stream>")
"""


async def example(base_url: str, key: str) -> list[str]:
    """What the document's program prints."""
    program = EXAMPLE.replace("https://api.aleph-alpha.com", base_url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env={"AA_TOKEN": key}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()

    assert 0 == process.returncode
    return out.decode().splitlines()


@pytest.mark.parametrize("last", [{}, {"content": None}], ids=["empty", "null"])
async def test_t_6_10_the_documents_example_prints_the_text_and_one_end(last: Any) -> None:
    """The program of the document, unchanged but for its address, reads the same from the upstream and through us."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        pieces = ["According to ", "Douglas Adams", ", 42."]
        fake.plays(ok(texts=[pieces], last=last), ok(texts=[pieces], last=last))
        direct = await example(fake.url, "upstream-key")
        through = await example(f"{gateway.url}/v1", "callers-secret")

        assert ["", *pieces, "<end-of-stream>"] == direct == through


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([("user", "a"), ("user", "b")], [("user", "a\n\nb")]),
        (
            [("user", "a"), ("assistant", "b"), ("assistant", "c"), ("user", "d")],
            [("user", "a"), ("assistant", "b\n\nc"), ("user", "d")],
        ),
        (
            [("assistant", "Hello"), ("user", "a")],
            [("system", "The assistant has already said:\nHello"), ("user", "a")],
        ),
    ],
)
async def test_t_6_11_turns_are_made_to_alternate(messages: Any, sent: Any) -> None:
    """Neighbours of one role are joined with a blank line; each repair is a warning."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        answer = await ask(gateway, MODEL, [{"role": role, "content": text} for role, text in messages])

        assert (200, "messages=approximated") == (answer.status, answer.headers["x-isthmus-loss"])
        assert [{"role": role, "content": text} for role, text in sent] == fake.seen[0].body["messages"]


async def test_t_6_12_system_texts_move_to_the_leading_one() -> None:
    """Later system texts follow the first in order, and the turns around them are joined."""
    texts = [("system", "S1"), ("user", "a"), ("system", "S2"), ("user", "b")]
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        answer = await ask(gateway, MODEL, [{"role": role, "content": text} for role, text in texts])

        assert [
            {"role": "system", "content": "S1\n\nS2"},
            {"role": "user", "content": "a\n\nb"},
        ] == fake.seen[0].body["messages"]
        assert "messages=approximated" == answer.headers["x-isthmus-loss"]


@callers
async def test_t_6_13_a_prefill_is_refused(caller: Caller) -> None:
    """A turn of the model at the end cannot be expressed: 400 before any call, in the caller's dialect."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        path, body = getattr(caller, f"_{caller.dialect}")(MODEL, False, {})
        if caller.dialect == "gemini":
            body["contents"].append({"role": "model", "parts": [{"text": "I"}]})
        else:
            body["messages"].append({"role": "assistant", "content": "I"})
        answer = await gateway.post(path, body, headers=BEARER)
        line = (await gateway.lines())[0]

        assert (400, "unsupported_prefill", []) == (answer.status, line["code"], fake.seen)
        assert "prefill" in caller.error(answer)


async def test_turns_are_refused_where_the_row_says_so() -> None:
    """`alternation: reject` mends nothing: 400."""
    async with before(AlephAlpha(), ROW, MODEL, more=", alternation: reject") as (gateway, fake):
        users = [{"role": "user", "content": "a"}] * 2
        answer = await ask(gateway, MODEL, users)
        good = await ask(gateway, MODEL, [{"role": "system", "content": "s"}, users[0]])

        assert (400, "messages", 200) == (answer.status, answer.json["error"]["param"], good.status)
        assert 1 == len(fake.seen)


async def test_t_6_14_what_is_ignored_there_is_not_sent() -> None:
    """seed, user, service_tier and names of messages are left out and named."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        messages = [{"role": "user", "content": "Hi", "name": "n"}]
        answer = await ask(gateway, MODEL, messages, seed=7, user="u", service_tier="x")

        assert {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]} == fake.seen[0].body
        assert (200, []) == (answer.status, fake.ignored)
        assert {"seed=dropped", "user=dropped", "service_tier=dropped", "messages[0].name=dropped"} == set(
            answer.headers["x-isthmus-loss"].split(", ")
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", {"type": "json_object"}),
        ("tool_choice", "auto"),
        ("parallel_tool_calls", True),
    ],
)
async def test_t_6_15_what_is_rejected_there_is_rejected_here(field: str, value: Any) -> None:
    """400 that names the field, and nothing was sent."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        answer = await ask(gateway, MODEL, **{field: value})

        assert (400, "unsupported_parameter", field, []) == (
            answer.status,
            answer.json["error"]["code"],
            answer.json["error"]["param"],
            fake.seen,
        )


REFUSAL = {"type": "refusal", "refusal": "No."}


@pytest.mark.parametrize(
    ("fields", "losses"),
    [
        ({"stop": []}, set()),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, set()),
        (
            {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": True}},
            {"stream_options.include_obfuscation=dropped"},
        ),
        ({"modalities": ["text"]}, set()),
        ({"messages": [HI, {"role": "assistant", "content": "x", "tool_calls": []}, HI]}, set()),
        ({"messages": [HI, {"role": "assistant", "content": [REFUSAL]}, HI]}, {"messages[1].content=approximated"}),
        (
            {"messages": [HI, {"role": "assistant", "content": None, "refusal": "No."}, HI]},
            {"messages[1].refusal=approximated"},
        ),
        ({"messages": [{**HI, "tool_call_id": "c"}]}, {"messages[0].tool_call_id=dropped"}),
    ],
    ids=str,
)
async def test_what_the_document_does_not_name_is_not_sent(fields: dict[str, Any], losses: set[str]) -> None:
    """The fake, which refuses whatever its document does not have, takes what clients of OpenAI send."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, _):
        answer = await ask(gateway, MODEL, **{"messages": "Hi", **fields})
        lost = answer.headers.get("x-isthmus-loss")

        assert (200, losses) == (answer.status, set(lost.split(", ")) if lost else set())


async def test_a_null_is_not_sent_either() -> None:
    """The document rejects the fields whatever they hold."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        answer = await ask(gateway, MODEL, tools=None, response_format=None, stop=None, temperature=None)

        assert (200, {"model", "messages"}) == (answer.status, set(fake.seen[0].body))


async def test_t_6_16_nice_and_steering_concepts_pass() -> None:
    """`nice` goes into the query, wherever the caller said it; concepts into the body; a bad one is 400."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        concepts = ["_worker/joyful", "0123456789abcdef" * 4]
        answers = [
            await ask(gateway, MODEL, path="?nice=true", steering_concepts=concepts),
            await ask(gateway, MODEL, nice=True),
            await ask(gateway, MODEL, headers={"x-isthmus-nice": "true"}),
            await ask(gateway, MODEL, nice=False, path="?nice=true"),
            await ask(gateway, MODEL),
        ]
        bad = await ask(gateway, MODEL, steering_concepts=["bad"])
        odd = await ask(gateway, MODEL, path="?nice=maybe")

        assert ["/chat/completions?nice=true"] * 3 + ["/chat/completions"] * 2 == [seen.target for seen in fake.seen]
        assert concepts == fake.seen[0].body["steering_concepts"]
        assert [200] * 5 + [400, 400] == [answer.status for answer in (*answers, bad, odd)]
        assert "steering_concepts[0]" == bad.json["error"]["param"]


async def test_its_own_fields_pass_from_every_dialect() -> None:
    """Concepts are named as its document names them, also by callers whose fields have humps, and checked."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        for caller in CALLERS:
            path, body = getattr(caller, f"_{caller.dialect}")(MODEL, False, {})
            good = await gateway.post(path, {**body, "steering_concepts": ["_worker/joyful"]}, headers=BEARER)
            bad = await gateway.post(path, {**body, "steering_concepts": ["bad"]}, headers=BEARER)

            assert (200, None, 400) == (good.status, good.headers.get("x-isthmus-loss"), bad.status)
        assert [["_worker/joyful"]] * 3 == [seen.body["steering_concepts"] for seen in fake.seen]


async def test_nice_is_a_setting_of_the_row() -> None:
    """`nice: true` holds for all calls but those that say otherwise."""
    async with before(AlephAlpha(), ROW, MODEL, more=", nice: true") as (gateway, fake):
        for caller in CALLERS:
            await caller.ask(gateway, MODEL, stream=False)
        await ask(gateway, MODEL, nice=False)
        await ask(gateway, MODEL, path="?nice=false")

        assert ["?nice=true"] * 3 + [""] * 2 == [seen.target.removeprefix("/chat/completions") for seen in fake.seen]


@pytest.mark.parametrize("order", ["round", "reversed", "random"])
async def test_t_6_17_choices_are_joined_by_their_index(order: str) -> None:
    """Chunks of several choices come in any order: each text is right."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        texts = [["one ", "two ", "three"], ["eins ", "zwei"]]
        fake.plays(ok(texts=texts, order=order))
        answer = await ask(gateway, MODEL, n=2, stream=True)
        found = {number: "".join(piece for at, piece in deltas(answer) if at == number) for number in (0, 1)}

        assert {0: "one two three", 1: "eins zwei"} == found
        assert ["stop", "stop"] == finishes(answer)


@pytest.mark.parametrize("order", ["round", "reversed", "random"])
@streamed
async def test_t_6_17_choices_are_joined_for_other_dialects_too(stream: bool, order: str) -> None:
    """Read and written again, as candidates, each with its own end."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(texts=[["one ", "two ", "three"], ["eins ", "zwei"]], order=order, finish="length"))
        path, body = CALLERS[2]._gemini(MODEL, stream, {})
        answer = await gateway.post(path, {**body, "generationConfig": {"candidateCount": 2}}, headers=BEARER)
        found = [one for event in (answer.events if stream else [answer.json]) for one in event["candidates"]]
        texts = {at: _said(one for one in found if one["index"] == at) for at in (0, 1)}

        assert {0: "one two three", 1: "eins zwei"} == texts
        assert ["MAX_TOKENS"] * 2 == [one["finishReason"] for one in found if one.get("finishReason")]


def _said(candidates: Iterable[Any]) -> str:
    return "".join(part["text"] for one in candidates for part in one["content"]["parts"])


@streamed
async def test_t_6_18_an_unknown_logprob_is_passed_on(stream: bool) -> None:
    """-9999.0 stands for "not known" there and reaches the caller as it is."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(unknown_logprobs=True))
        answer = await ask(gateway, MODEL, logprobs=True, top_logprobs=2, stream=stream)

        assert b'"logprob": -9999.0' in answer.body
        assert text_of(answer) == "Hello"


async def test_an_unknown_logprob_is_never_averaged() -> None:
    """A caller of Gemini gets no average that -9999.0 went into."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(unknown_logprobs=True))
        path, body = CALLERS[2]._gemini(MODEL, False, {})
        body["generationConfig"] = {"responseLogprobs": True}
        answer = await gateway.post(path, body, headers=BEARER)

        assert 200 == answer.status
        assert -9999.0 == answer.json["candidates"][0]["logprobsResult"]["chosenCandidates"][0]["logProbability"]
        assert "avgLogprobs" not in answer.json["candidates"][0]


async def test_t_6_19_usage_is_asked_for_and_kept_from_the_caller() -> None:
    """Without include_usage the caller sees no usage chunk, and the metrics have the tokens."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        hidden = await ask(gateway, MODEL, stream=True)
        shown = await ask(gateway, MODEL, stream=True, stream_options={"include_usage": True})

        assert [{"include_usage": True}] * 2 == [seen.body["stream_options"] for seen in fake.seen]
        assert not any(event.get("usage") for event in hidden.events[:-1])
        assert [[]] == [event["choices"] for event in shown.events[:-1] if event.get("usage")]
        assert 10 == gateway.metric("gen_ai_client_token_usage_sum", token_type="input")
        assert 4 == gateway.metric("gen_ai_client_token_usage_sum", token_type="output")


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 2.5},
        {"top_p": 1.1},
        {"n": 0},
        {"max_tokens": 0},
        {"top_logprobs": 21, "logprobs": True},
        {"frequency_penalty": -2.5},
        {"presence_penalty": 2.5},
        {"logit_bias": {"50256": 101}},
        {"top_logprobs": 2},
    ],
    ids=str,
)
async def test_t_6_20_a_value_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    """Never clamped: 400 that names the field, and nothing was sent."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        answer = await ask(gateway, MODEL, **fields)

        assert (400, next(iter(fields)), []) == (answer.status, answer.json["error"]["param"], fake.seen)


async def test_t_6_21_a_full_queue_is_tried_again() -> None:
    """503 twice, then an answer: 200 with two retries counted."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        fake.plays(*fail_then_ok(2, 503, QUEUE_FULL))
        answer = await ask(gateway, MODEL)

        assert (200, "3", 3) == (answer.status, answer.headers["x-isthmus-attempts"], len(fake.seen))
        assert 2 == gateway.metric("isthmus_retries_total")


@pytest.mark.parametrize(("status", "tries"), [(408, 3), (429, 3), (500, 3), (502, 3), (504, 3), (400, 1), (402, 1)])
async def test_what_is_tried_again(status: int, tries: int) -> None:
    """What may pass is repeated, what will not is not."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        fake.plays(*[fail(status, {"error": "no"})] * tries)
        answer = await ask(gateway, MODEL)

        assert answer.status >= 400
        assert tries == len(fake.seen)


async def test_the_upstreams_own_end_is_waited_for() -> None:
    """It closes after 300 s: the row allows a call five seconds more."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, _):
        provider = gateway.life.gateway.generation.providers[ROW]

        assert {"total": 305} == provider.timeouts


# ── every caller ───────────────────────────────────────────────────────────────────────


@callers
@streamed
async def test_every_caller_reaches_it(caller: Caller, stream: bool) -> None:
    """Text and end come back in the caller's dialect; the fake finds nothing wrong with what it was sent."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        answer = await caller.ask(gateway, MODEL, stream=stream, stop=["##"], limit=20, temperature=0.5)

        assert (200, "Hello") == (answer.status, caller.text(answer))
        assert (20, 0.5, "##") == tuple(fake.seen[0].body[key] for key in ("max_tokens", "temperature", "stop"))


async def test_plain_text_may_be_asked_for() -> None:
    """Callers of Gemini often say that they want text: that is no format that could be rejected."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, _):
        path, body = CALLERS[2]._gemini(MODEL, False, {})
        answer = await gateway.post(
            path, {**body, "generationConfig": {"responseMimeType": "text/plain"}}, headers=BEARER
        )

        assert (200, "Hello") == (answer.status, CALLERS[2].text(answer))


@callers
async def test_every_caller_is_told_what_it_cannot(caller: Caller) -> None:
    """Tools are refused in the caller's dialect."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        answer = await caller.ask(gateway, MODEL, stream=False, tools=["f"])

        assert (400, []) == (answer.status, fake.seen)
        assert "tools" in caller.error(answer)


@callers
async def test_an_answer_in_a_list_is_read(caller: Caller) -> None:
    """The document shows the answer as an array: one of one is the answer itself."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        fake.plays(ok(in_list=True))
        answer = await caller.ask(gateway, MODEL, stream=False)

        assert (200, "Hello") == (answer.status, caller.text(answer))


async def test_several_stops_go_as_a_list_one_as_a_text() -> None:
    """The document knows one text; newer installations several."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        await ask(gateway, MODEL, stop=["a"])
        await ask(gateway, MODEL, stop=["a", "b"])

        assert ["a", ["a", "b"]] == [seen.body["stop"] for seen in fake.seen]


async def test_an_unchanged_answer_is_relayed_as_it_came() -> None:
    """Nothing of this row changes answers: fields that nobody knows reach the caller."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, _):
        answer = await ask(gateway, MODEL)

        assert ("relay", ".unknown.") == (answer.headers["x-isthmus-lane"], answer.json["system_fingerprint"])


@callers
@streamed
@pytest.mark.parametrize(
    "scenario", [split_every_byte(), no_done(), ok(last={"content": None})], ids=["split", "no_done", "null"]
)
async def test_odd_streams_are_read(scenario: Scenario, stream: bool, caller: Caller) -> None:
    """However the bytes are cut, and with the end mark forgotten after the last reason."""
    async with before(AlephAlpha(), ROW, MODEL) as (gateway, fake):
        fake.plays(scenario)
        answer = await caller.ask(gateway, MODEL, stream=stream)

        assert (200, "Hello") == (answer.status, caller.text(answer))


@callers
@pytest.mark.parametrize("scenario", [cut_after(2), reset(3), bad_json()], ids=["cut", "reset", "bad"])
async def test_broken_streams_end_with_an_error(scenario: Scenario, caller: Caller) -> None:
    """No clean end is made of a stream that has none."""
    async with before(AlephAlpha(), ROW, MODEL, more=", attempts: 1") as (gateway, fake):
        fake.plays(scenario)
        answer = await caller.ask(gateway, MODEL, stream=True)

        assert caller.error(answer)
        assert not caller.ended(answer)


async def test_a_redirect_is_not_followed() -> None:
    """302 is no answer."""
    async with before(AlephAlpha(), ROW, MODEL, more=", attempts: 1") as (gateway, fake):
        fake.plays(redirect("http://127.0.0.1:1/elsewhere"))
        answer = await ask(gateway, MODEL)

        assert (502, 1) == (answer.status, len(fake.seen))


# ── newer installations ────────────────────────────────────────────────────────────────

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "t", "schema": {"type": "object"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


async def test_abilities_are_switched_on() -> None:
    """`tools`, `response_format` and `vision` open what newer installations have, parallel_tool_calls never."""
    more = ", tools: true, response_format: true, vision: true"
    async with before(AlephAlpha(profile="4.7"), ROW, MODEL, more=more) as (gateway, fake):
        call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        turns = [
            {"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "4"},
        ]
        good = await ask(gateway, MODEL, turns, tools=[TOOL], response_format=SCHEMA)
        parallel = await ask(gateway, MODEL, tools=[TOOL], parallel_tool_calls=True)
        lax = await ask(gateway, MODEL, response_format={"type": "json_object"})
        far = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]
        linked = await ask(gateway, MODEL, far)

        assert [200, 400, 400, 400] == [one.status for one in (good, parallel, lax, linked)]
        assert ({"url": IMAGE["image_url"]["url"]}, [TOOL]) == (  # type: ignore[index]
            fake.seen[0].body["messages"][0]["content"][1]["image_url"],
            fake.seen[0].body["tools"],
        )
        assert "messages[0].content[1]=dropped" == good.headers["x-isthmus-loss"]


async def test_what_newer_ones_lack_is_refused_all_the_same() -> None:
    """Sounds, images of the model, tools in their older form: 400 before anything is sent. Text is no format."""
    more = ", tools: true, response_format: true, vision: true"
    async with before(AlephAlpha(profile="4.7"), ROW, MODEL, more=more) as (gateway, fake):
        sound = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
        bad = [
            await ask(gateway, MODEL, [{"role": "user", "content": [sound]}]),
            await ask(gateway, MODEL, [HI, {"role": "assistant", "content": [IMAGE]}, HI]),
            await ask(gateway, MODEL, functions=[{"name": "f"}]),
        ]
        text = await ask(gateway, MODEL, response_format={"type": "text"})

        assert [400] * 3 == [answer.status for answer in bad]
        assert (200, {"model", "messages"}) == (text.status, set(fake.seen[0].body))
        assert 1 == len(fake.seen)


async def test_what_was_said_before_a_call_is_one_turn_with_it() -> None:
    """Clients split a turn of the model: text, then calls."""
    async with before(AlephAlpha(profile="4.7"), ROW, MODEL, more=", tools: true") as (gateway, fake):
        call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        said = [{"role": "assistant", "content": "Let me see."}, {"role": "assistant", "tool_calls": [call]}]
        answer = await ask(gateway, MODEL, [HI, *said, {"role": "tool", "tool_call_id": "call_1", "content": "4"}])

        assert (200, "messages=approximated") == (answer.status, answer.headers["x-isthmus-loss"])
        assert "Let me see." == fake.seen[0].body["messages"][1]["content"]


async def test_abilities_may_be_of_some_models() -> None:
    """A list of models opens it for those alone."""
    more = ', tools: ["new-*"]'
    async with before(AlephAlpha(profile="4.7"), ROW, "new-model", "old-model", more=more) as (gateway, fake):
        new = await ask(gateway, "new-model", tools=[TOOL])
        old = await ask(gateway, "old-model", tools=[TOOL])

        assert (200, 400, 1) == (new.status, old.status, len(fake.seen))
