"""The row `alphakek`, through the running gateway, before a fake that refuses what the document refuses."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from router import validating
from tests.given.callers import BEARER, CALLERS, Caller, ask, before, deltas, finishes, text_of
from tests.given.fakes import (
    AlphaKek,
    Scenario,
    bad_json,
    cut_after,
    fail,
    fail_then_ok,
    ok,
    reset,
    slow_tokens,
    split_every_byte,
)

ROW = "alphakek"
MODELS = ("versa", "nexus", "eclipse")
QUESTION = "What to expect from Ethereum ETFs?"
TWEETS = ["tweet1", "tweet2", "tweet3", "tweet4", "tweet5"]
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {name: {"type": "string"} for name in TWEETS},
    "required": TWEETS,
}
FITS = json.dumps(dict.fromkeys(TWEETS, "gm"))
#: What the document prints as its sample output: fenced, and a list although an object was asked for.
SAMPLE = '```json\n[\n    {\n        "text": "🚀 #Ethereum #ETFs expected to attract $15B"\n    }\n]\n```'
WISHES = [
    {"json_schema": SCHEMA},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "t", "schema": SCHEMA}}},
]
TOOL = {"type": "function", "function": {"name": "f"}}

callers = pytest.mark.parametrize("caller", CALLERS, ids=[caller.dialect for caller in CALLERS])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
wishes = pytest.mark.parametrize("wish", WISHES, ids=["own", "official"])
needs_extra = pytest.mark.skipif(not validating.AVAILABLE, reason="the extra `schema` is not installed")


async def test_t_6_1_the_documents_example_goes_out_as_it_stands() -> None:
    """The client of the document, with only its address and key changed: what is sent is exactly what it says."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        client = openai.AsyncOpenAI(api_key="callers-secret", base_url=f"{gateway.url}/v1")
        response = await client.chat.completions.create(model="nexus", messages=[{"role": "user", "content": QUESTION}])
        await client.close()

        assert {"model": "nexus", "messages": [{"role": "user", "content": QUESTION}]} == fake.seen[0].body
        assert ("Hello", 5) == (response.choices[0].message.content, response.usage and response.usage.total_tokens)


@wishes
async def test_t_6_2_a_schema_goes_out_bare(wish: dict[str, Any]) -> None:
    """From `json_schema` in extra_body, as the document has it, and from response_format."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        client = openai.AsyncOpenAI(api_key="callers-secret", base_url=f"{gateway.url}/v1")
        text = "Write 5 tweets about crypto ETF news in a JSON format."
        response = await client.chat.completions.create(
            model="nexus", messages=[{"role": "user", "content": text}], extra_body=wish
        )
        await client.close()

        assert {
            "model": "nexus",
            "messages": [{"role": "user", "content": text}],
            "json_schema": SCHEMA,
        } == fake.seen[0].body
        assert TWEETS == list(json.loads(response.choices[0].message.content or ""))


async def test_the_other_formats_of_an_answer() -> None:
    """json_object is a schema of any object, text is nothing at all, and both ways at once are refused."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        any_object = await ask(gateway, "nexus", response_format={"type": "json_object"})
        text = await ask(gateway, "nexus", response_format={"type": "text"})
        both = await ask(gateway, "nexus", **WISHES[0], **WISHES[1])
        odd = await ask(gateway, "nexus", json_schema="x")

        assert [200, 200, 400, 400] == [answer.status for answer in (any_object, text, both, odd)]
        assert [{"type": "object"}, None] == [seen.body.get("json_schema") for seen in fake.seen]


async def test_json_is_asked_for_once() -> None:
    """By the schema, not in a message of ours besides: what a caller of Gemini says goes out as it is."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        path, body = CALLERS[2]._gemini("nexus", False, {})
        said = {**body, "generationConfig": {"responseMimeType": "application/json"}}
        answer = await gateway.post(path, said, headers=BEARER)
        own = await gateway.post(path, {**body, "json_schema": SCHEMA}, headers=BEARER)

        assert [(200, None)] * 2 == [(one.status, one.headers.get("x-isthmus-loss")) for one in (answer, own)]
        assert [[{"role": "user", "content": "Hi"}]] * 2 == [seen.body["messages"] for seen in fake.seen]
        assert [{"type": "object"}, SCHEMA] == [seen.body["json_schema"] for seen in fake.seen]


SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"n": 2}, "n"),
        ({"modalities": ["audio"], "audio": {"voice": "alloy", "format": "wav"}}, "modalities"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, "messages[0]"),
        ({"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "4"}]}, "messages[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "messages[0].content[0]",
        ),
        (
            {"messages": [{"role": "user", "content": [SOUND]}]},
            "messages[0].content[0]",
        ),
    ],
    ids=str,
)  # fmt: skip
async def test_t_6_3_what_it_cannot_is_refused(fields: dict[str, Any], param: str) -> None:
    """Tools, images, sounds and several answers: 400 that names the place, and the fake saw nothing."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        answer = await ask(gateway, "nexus", **{"messages": QUESTION, **fields})

        assert (400, "unsupported_parameter", param, []) == (
            answer.status,
            answer.json["error"]["code"],
            answer.json["error"]["param"],
            fake.seen,
        )


@callers
@streamed
async def test_t_6_3_every_caller_is_told_what_it_cannot(caller: Caller, stream: bool) -> None:
    """Tools are refused in the caller's dialect, also where a stream was asked for."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        answer = await caller.ask(gateway, "nexus", stream=stream, tools=["f"])

        assert (400, []) == (answer.status, fake.seen)
        assert "tools" in caller.error(answer)


async def test_a_choice_of_no_tools_says_nothing() -> None:
    """`tool_choice: none` without tools is not sent, and nothing is lost by that."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, _fake):
        answer = await ask(gateway, "nexus", tool_choice="none")

        assert (200, None) == (answer.status, answer.headers.get("x-isthmus-loss"))


@streamed
async def test_t_6_4_credits_are_counted(stream: bool) -> None:
    """A call of eclipse moves the counter by three, whole or streamed; what failed costs nothing."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(fail(400, {"detail": "no"}), ok())
        await ask(gateway, "eclipse", stream=stream)
        await ask(gateway, "eclipse", stream=stream)
        await ask(gateway, "versa", stream=stream)
        counted = [gateway.metric("isthmus_cost_credits_total", model=model) for model in MODELS]

        assert [1, 0, 3] == counted
        assert 4 == fake.spent == gateway.metric("isthmus_cost_credits_total", provider=ROW, key="none")


@wishes
@streamed
@pytest.mark.parametrize(
    "fenced",
    [
        f"```json\n{FITS}\n```",
        f"```\n{FITS}\n```\n",
        f"  ```json\r\n{FITS}\r\n```",
        f"``` json\n{FITS}\n```",
        f"\ufeff```json\n{FITS}\n```",
        f"```json\n{FITS}\n```\n\nGood luck! 🚀",
        FITS,
    ],
    ids=["json", "bare", "windows", "space", "mark", "remark", "none"],
)
async def test_t_6_5_json_comes_without_its_fence(fenced: str, stream: bool, wish: dict[str, Any]) -> None:
    """What was asked for as JSON is plain JSON, however it was cut on its way."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(text=list(fenced) if stream else fenced))
        answer = await ask(gateway, "nexus", stream=stream, **wish)

        assert FITS == text_of(answer)


@streamed
async def test_a_fence_that_nobody_asked_to_be_json_stays(stream: bool) -> None:
    """Without a schema Markdown is the answer."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(text="```json\n{}\n```"))
        answer = await ask(gateway, "nexus", stream=stream)

        assert "```json\n{}\n```" == text_of(answer)


@needs_extra
@pytest.mark.parametrize(
    ("wish", "loss"), [(WISHES[0], "json_schema"), (WISHES[1], "response_format.json_schema.schema")]
)
async def test_json_that_does_not_fit_is_returned_with_a_warning(wish: dict[str, Any], loss: str) -> None:
    """`on_invalid_json: return`, the default: the document's own sample does not fit its schema."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(text=SAMPLE))
        answer = await ask(gateway, "nexus", **wish)

        assert (200, f"{loss}=approximated") == (answer.status, answer.headers["x-isthmus-loss"])
        assert "🚀" in json.loads(text_of(answer))[0]["text"]


@needs_extra
@wishes
async def test_json_that_does_not_fit_is_asked_for_again(wish: dict[str, Any]) -> None:
    """`on_invalid_json: retry_once`: the second answer is given, its credits are counted."""
    async with before(AlphaKek(), ROW, *MODELS, more=", on_invalid_json: retry_once") as (gateway, fake):
        fake.plays(ok(text=SAMPLE), ok(text=f"```json\n{FITS}\n```"))
        answer = await ask(gateway, "nexus", **wish)

        assert (200, FITS, None) == (answer.status, text_of(answer), answer.headers.get("x-isthmus-loss"))
        assert (2, 4) == (len(fake.seen), gateway.metric("isthmus_cost_credits_total"))
        assert SCHEMA == fake.seen[1].body["json_schema"]


@needs_extra
async def test_asking_again_is_one_of_the_attempts() -> None:
    """Two in all: after one that failed the answer is given as it is, and named."""
    async with before(AlphaKek(), ROW, *MODELS, more=", on_invalid_json: retry_once") as (gateway, fake):
        fake.plays(fail(503, {"detail": "later"}), ok(text=SAMPLE))
        answer = await ask(gateway, "nexus", **WISHES[0])

        assert (200, "json_schema=approximated", "2") == (
            answer.status,
            answer.headers["x-isthmus-loss"],
            answer.headers["x-isthmus-attempts"],
        )
        assert (2, 2) == (len(fake.seen), gateway.metric("isthmus_cost_credits_total"))


@needs_extra
@wishes
@streamed
async def test_json_that_does_not_fit_is_an_error(stream: bool, wish: dict[str, Any]) -> None:
    """`on_invalid_json: error`: 502, or a stream that ends with an error."""
    async with before(AlphaKek(), ROW, *MODELS, more=", on_invalid_json: error") as (gateway, fake):
        fake.plays(ok(text=SAMPLE), ok(text=FITS))
        bad = await ask(gateway, "nexus", stream=stream, **wish)
        good = await ask(gateway, "nexus", stream=stream, **wish)
        error = bad.events[-1]["error"] if stream else bad.json["error"]

        assert (200 if stream else 502, "upstream_invalid_response") == (bad.status, error["code"])
        assert (200, FITS) == (good.status, text_of(good))


@callers
@streamed
async def test_t_6_6_calls_of_its_own_are_not_passed_on(caller: Caller, stream: bool) -> None:
    """The upstream's functions have been called already: the caller gets the text, and a plain end."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(own_calls=True, null_deltas=True))
        answer = await caller.ask(gateway, "nexus", stream=stream)

        assert (200, "Hello") == (answer.status, caller.text(answer))
        assert {"openai": "stop", "anthropic": "end_turn", "gemini": "STOP"}[caller.dialect] == caller.finish(answer)
        assert "create_alert" not in answer.body.decode()


@pytest.mark.parametrize(
    "pieces", [["a #", "# b"], ["a ##", " b"], ["a ", "#", "#", " b"], ["a # b"], list("# a ## b")]
)
@callers
async def test_t_6_7_a_stop_is_cut_across_chunks(caller: Caller, pieces: list[str]) -> None:
    """The text ends before the stop text however the stream was cut; what only begins like one stays."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(text=pieces))
        answer = await caller.ask(gateway, "nexus", stream=True, stop=["##"])

        assert "".join(pieces).partition("##")[0] == caller.text(answer)
        assert (True, "", False) == (caller.ended(answer), caller.error(answer), "stop" in fake.seen[0].body)


async def test_t_6_7_a_single_stop_may_be_a_text() -> None:
    """With one finish reason, `stop`, and one end."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(text=["a #", "# b"]))
        answer = await ask(gateway, "nexus", stream=True, stop="##")

        assert ("a ", ["stop"], "[DONE]") == (text_of(answer), finishes(answer), answer.events[-1])


@callers
@streamed
async def test_a_stop_is_kept_for_every_caller(caller: Caller, stream: bool) -> None:
    """Several stop texts, the first that comes counts; Anthropic's callers learn which."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(text=["one END", " two ##", " three"]))
        answer = await caller.ask(gateway, "nexus", stream=stream, stop=["##", "END"])

        assert (200, "one ") == (answer.status, caller.text(answer))
        assert "stop=" not in answer.headers.get("x-isthmus-loss", "")  # but for which one it was, where none can say
        word = {"openai": "stop", "anthropic": "stop_sequence", "gemini": "STOP"}[caller.dialect]
        assert word == caller.finish(answer)


@callers
@pytest.mark.parametrize("scenario", [cut_after(3), reset(3)], ids=["cut", "reset"])
async def test_what_breaks_behind_a_stop_is_not_told(caller: Caller, scenario: Scenario) -> None:
    """The answer was complete: it ends as it would have, once, and without an error."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.text = ["one END", " two"]
        fake.plays(scenario)
        answer = await caller.ask(gateway, "nexus", stream=True, stop=["END"])
        word = {"openai": "stop", "anthropic": "stop_sequence", "gemini": "STOP"}[caller.dialect]

        assert ("one ", word, "") == (caller.text(answer), caller.finish(answer), caller.error(answer))
        assert 2 == gateway.metric("isthmus_cost_credits_total")


async def test_what_is_sent_and_what_is_dropped() -> None:
    """Documented fields go as they are, `persona` and `top_k` too; the rest is left out and named."""
    sent = {"temperature": 0.5, "top_p": 0.9, "frequency_penalty": 1, "persona": "degen", "top_k": 5}
    lost = {"max_tokens": 9, "presence_penalty": 1, "seed": 7, "logit_bias": {"1": 1}, "user": "u", "logprobs": True}
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        answer = await ask(gateway, "nexus", **sent, **lost, foo=1)

        assert sent == {key: value for key, value in fake.seen[0].body.items() if key not in ("model", "messages")}
        assert {f"{key}=dropped" for key in (*lost, "foo")} == set(answer.headers["x-isthmus-loss"].split(", "))


async def test_persona_reaches_it_from_another_dialect() -> None:
    """A field of the row's own passes from any caller's body."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        path, body = CALLERS[1]._anthropic("nexus", False, {})
        answer = await gateway.post(path, {**body, "persona": "degen", "foo": 1}, headers=BEARER)

        assert "degen" == fake.seen[0].body["persona"]
        assert "foo=dropped" in answer.headers["x-isthmus-loss"]


@callers
@streamed
@pytest.mark.parametrize(
    "scenario", [ok(null_deltas=True), split_every_byte(), slow_tokens(0.01)], ids=["null", "split", "slow"]
)
async def test_every_caller_reaches_it(caller: Caller, stream: bool, scenario: Scenario) -> None:
    """Text comes back in the caller's dialect, whole and streamed."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(scenario)
        answer = await caller.ask(gateway, "nexus", stream=stream)

        assert (200, "Hello") == (answer.status, caller.text(answer))
        assert "translate" == answer.headers["x-isthmus-lane"]


async def test_every_field_of_the_document_comes_back() -> None:
    """The answer is read and written again, and nothing of it but the hidden calls is lost."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(full=True), ok(full=True, own_calls=True))
        whole, hidden = await ask(gateway, "nexus"), await ask(gateway, "nexus")
        written = fake.whole({"model": "nexus"}, {"full": True})

        assert {**written, "id": "kek-1"} == whole.json | {"id": "kek-1"}
        assert None is hidden.json["choices"][0]["message"].get("tool_calls")
        assert written["choices"][0]["message"]["audio"] == hidden.json["choices"][0]["message"]["audio"]


@streamed
async def test_missing_usage_stays_missing(stream: bool) -> None:
    """Nothing is invented."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(no_usage=True))
        answer = await ask(gateway, "nexus", stream=stream)

        assert b'"usage"' not in answer.body
        assert 0 == gateway.metric("gen_ai_client_token_usage_count")


@pytest.mark.parametrize(("status", "tries"), [(429, 2), (502, 2), (503, 2), (504, 2), (500, 1), (402, 1)])
async def test_a_call_that_may_have_cost_is_not_repeated_lightly(status: int, tries: int) -> None:
    """Twice at most, and only for what was surely not answered."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(*fail_then_ok(1, status, {"detail": "later"}) if tries == 2 else [fail(status)])
        answer = await ask(gateway, "nexus")

        assert (tries, 200 if tries == 2 else 502) == (len(fake.seen), answer.status)


@pytest.mark.parametrize("scenario", [reset(0), bad_json(), cut_after(0)], ids=["reset", "bad", "empty"])
async def test_a_call_that_was_sent_is_not_repeated(scenario: Scenario) -> None:
    """What was taken and then went wrong has cost its credits: counted once, for it was sent once."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(scenario)
        answer = await ask(gateway, "nexus", stream=True)

        assert (502, 1, 2) == (answer.status, len(fake.seen), fake.spent)
        assert 2 == gateway.metric("isthmus_cost_credits_total")


async def test_its_errors_are_read() -> None:
    """`detail` as a list of what is wrong becomes one sentence."""
    detail = {"detail": [{"loc": ["body", "model"], "msg": "not a valid model", "type": "value_error"}]}
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(fail(422, detail))
        answer = await ask(gateway, "nexus")

        assert (422, "body.model: not a valid model") == (answer.status, answer.json["error"]["message"])


async def test_deltas_of_nothing_are_not_passed_on() -> None:
    """`content: null` in a stream is no text."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(ok(null_deltas=True))
        answer = await ask(gateway, "nexus", stream=True)

        assert [(0, "Hel"), (0, "lo")] == deltas(answer)


# ── the vendors' own clients read what was changed ─────────────────────────────────────

EVENTFUL = ok(own_calls=True, null_deltas=True, text=["one E", "ND two"])


async def test_the_client_of_openai_reads_a_changed_stream() -> None:
    """Pieces of text, one finish reason, no call."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(EVENTFUL)
        client = openai.AsyncOpenAI(api_key="callers-secret", base_url=f"{gateway.url}/v1")
        stream = await client.chat.completions.create(
            model="nexus", messages=[{"role": "user", "content": QUESTION}], stream=True, stop=["END"]
        )
        choices = [chunk.choices[0] async for chunk in stream]
        await client.close()

        assert "one " == "".join(choice.delta.content or "" for choice in choices)
        assert ["stop"] == [choice.finish_reason for choice in choices if choice.finish_reason]
        assert not any(choice.delta.tool_calls for choice in choices)


async def test_the_client_of_anthropic_reads_a_changed_stream() -> None:
    """It learns which stop text it was."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(EVENTFUL)
        client = anthropic.AsyncAnthropic(api_key="callers-secret", base_url=gateway.url)
        async with client.messages.stream(
            model="nexus", max_tokens=50, messages=[{"role": "user", "content": QUESTION}], stop_sequences=["END"]
        ) as stream:
            message = await stream.get_final_message()
        await client.close()

        assert ("stop_sequence", "END") == (message.stop_reason, message.stop_sequence)
        assert ["one "] == [block.text for block in message.content if block.type == "text"]


async def test_the_client_of_gemini_reads_a_changed_stream() -> None:
    """And its end."""
    async with before(AlphaKek(), ROW, *MODELS) as (gateway, fake):
        fake.plays(EVENTFUL)
        options = genai.types.HttpOptions(base_url=gateway.url, api_version="v1beta")
        client = genai.Client(api_key="callers-secret", http_options=options)
        config = genai.types.GenerateContentConfig(stop_sequences=["END"])
        chunks = [
            chunk
            async for chunk in await client.aio.models.generate_content_stream(
                model="nexus", contents=QUESTION, config=config
            )
        ]
        reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]

        assert "one " == "".join(chunk.text or "" for chunk in chunks)
        assert ["STOP"] == [reason.name for reason in reasons if reason is not None]
