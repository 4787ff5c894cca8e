"""Quirks of servers that take little: what each changes, refuses and says, in both lanes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from providers.canonical.chat import ChatRequest, Media, Message, ResponseFormat, Text
from providers.canonical.errors import MalformedRequest, UnsupportedParameter
from providers.canonical.loss import Losses
from providers.dialect import PLAIN, Traits, WireRequest
from providers.dialects.openai_chat import narrow

from .speak import CHAT, HI, ask, written

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
PLAIN_TEXT = {"type": "image_url", "image_url": {"url": "data:text/plain,AAAA"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
WISH = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "description": "d"}}


def relayed(traits: Traits = PLAIN, **fields: Any) -> tuple[WireRequest, dict[str, Any], list[str]]:
    """What goes upstream in the relay lane; the caller's request stays as it is."""
    asked = ask(**fields)
    before = copy.deepcopy(asked.body)
    losses: Losses = []
    wire = CHAT.relay_request(asked, "m", losses, traits)

    assert before == asked.body
    return wire, json.loads(wire.body), [f"{loss.field}={loss.kind}" for loss in losses]


def quirk(*names: str, **more: Any) -> Traits:
    return Traits(quirks=frozenset(names), **more)


def foreign(*messages: Message, **fields: Any) -> ChatRequest:
    said = messages or (Message(role="user", parts=(Text(text="Hi"),)),)
    return ChatRequest(dialect="test", model="m", messages=said, **fields)


def turns(*said: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in said]


# ── parameters ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "fields", "expected", "losses"),
    [
        ("bare_stop", {"stop": ["a"]}, {"stop": "a"}, []),
        ("bare_stop", {"stop": ["a", "b"]}, {"stop": ["a", "b"]}, []),
        ("bare_stop", {"stop": "a"}, {"stop": "a"}, []),
        ("bare_stop", {"stop": []}, {}, []),
        ("text_only", {"modalities": ["text"]}, {}, []),
        ("stop_here", {"stop": ["a"] * 16}, {}, []),
        ("stop_here", {"stop": None}, {}, []),
        ("logprobs_first", {"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, []),
        ("idle_tool_choice", {"tool_choice": "none"}, {}, []),
        ("idle_tool_choice", {"function_call": "none"}, {}, []),
        ("idle_tool_choice", {"tool_choice": "auto"}, {"tool_choice": "auto"}, []),
        ("json_schema_field", {"response_format": {"type": "text"}}, {}, []),
        ("json_schema_field", {"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}, []),
        (
            "json_schema_field",
            {"response_format": WISH},
            {"json_schema": SCHEMA},
            ["response_format.json_schema.description=dropped"],
        ),
        ("json_schema_field", {"json_schema": SCHEMA}, {"json_schema": SCHEMA}, []),
        ("schema_only", {"response_format": WISH}, {"response_format": WISH}, []),
        ("schema_only", {"response_format": {"type": "text"}}, {}, []),
        ("schema_only", {"response_format": None}, {"response_format": None}, []),
        ("steering_concepts", {"steering_concepts": ["_worker/a-B_9"]}, {"steering_concepts": ["_worker/a-B_9"]}, []),
        ("steering_concepts", {"steering_concepts": None}, {"steering_concepts": None}, []),
    ],
)
def test_a_parameter_is_changed(name: str, fields: dict[str, Any], expected: Any, losses: list[str]) -> None:
    """Each has its one change, and says what it takes away."""
    _, body, said = relayed(quirk(name), **fields)

    assert ({"model": "m", "messages": HI, **expected}, losses) == (body, said)


@pytest.mark.parametrize(
    ("name", "fields", "param"),
    [
        ("stop_here", {"stop": ["a"] * 17}, "stop"),
        ("stop_here", {"stop": "x" * 257}, "stop"),
        ("logprobs_first", {"top_logprobs": 2}, "top_logprobs"),
        ("logprobs_first", {"top_logprobs": 2, "logprobs": False}, "top_logprobs"),
        ("json_schema_field", {"json_schema": SCHEMA, "response_format": WISH}, "response_format"),
        ("json_schema_field", {"response_format": {"type": "grammar"}}, "response_format"),
        ("schema_only", {"response_format": {"type": "json_object"}}, "response_format"),
        ("schema_only", {"response_format": {"type": "grammar"}}, "response_format"),
        ("data_urls", {"messages": turns(("user", [SOUND]))}, "messages[0].content[0]"),
        ("data_urls", {"messages": turns(("user", "a"), ("assistant", [IMAGE]))}, "messages[1].content[0]"),
        ("data_urls", {"messages": turns(("user", [PLAIN_TEXT]))}, "messages[0].content[0]"),
        ("text_only", {"messages": turns(("user", [IMAGE]))}, "messages[0].content[0]"),
        ("text_only", {"modalities": ["audio"]}, "modalities"),
        ("no_tool_turns", {"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, "messages[0]"),
        ("no_tool_turns", {"messages": [{"role": "function", "name": "f", "content": "4"}]}, "messages[0]"),
        (
            "data_urls",
            {"messages": turns(("user", [{"type": "image_url", "image_url": {"url": "https://a"}}]))},
            "messages[0].content[0]",
        ),
    ],
)
def test_a_call_is_refused(name: str, fields: dict[str, Any], param: str) -> None:
    """What the server cannot is said before anything is sent, by its place."""
    with pytest.raises(UnsupportedParameter) as refused:
        relayed(quirk(name), **fields)

    assert param == refused.value.param


@pytest.mark.parametrize("concepts", ["_worker/a", ["a"], ["_worker/"], ["_worker/" + "a" * 65], ["0" * 63], [1]])
def test_a_name_of_a_concept_is_checked(concepts: Any) -> None:
    """What is no name of one is malformed, and no other target is tried."""
    with pytest.raises(MalformedRequest):
        relayed(quirk("steering_concepts"), steering_concepts=concepts)


def test_a_schema_of_any_object_needs_no_word() -> None:
    """JSON that is asked for by a schema is not asked for in a message besides."""
    request = foreign(response_format=ResponseFormat(kind="json_object"))
    body, losses = written(request, quirk("json_schema_field"))

    assert ({"model": "m", "messages": HI, "json_schema": {"type": "object"}}, []) == (body, losses)


def test_a_schema_from_another_dialect_invents_no_name() -> None:
    """The official place wants a name of the schema; this one does not."""
    request = foreign(response_format=ResponseFormat(kind="json_schema", schema=SCHEMA, description="d"))

    body, losses = written(request, quirk("json_schema_field"))

    assert (SCHEMA, ["response_format=dropped"]) == (body["json_schema"], losses)


def test_stops_of_another_dialect_are_kept_here() -> None:
    """More than the four that the official server takes, and none of them is sent or lost."""
    body, losses = written(foreign(stop=("a", "b", "c", "d", "e")), quirk("stop_here"))

    assert ({"model": "m", "messages": HI}, []) == (body, losses)
    with pytest.raises(UnsupportedParameter):
        written(foreign(stop=("a",) * 17), quirk("stop_here"))


@pytest.mark.parametrize(
    ("fields", "of_row", "query"),
    [
        ({"nice": True}, None, {"nice": "true"}),
        ({"nice": False}, True, {}),
        ({"nice": None}, True, {"nice": "true"}),
        ({}, True, {"nice": "true"}),
        ({}, False, {}),
        ({}, None, {}),
    ],
)
def test_nice_goes_into_the_query(fields: dict[str, Any], of_row: bool | None, query: dict[str, str]) -> None:
    """What the body says comes before what the row says; false is left out."""
    wire, body, _ = relayed(quirk("nice", nice=of_row), **fields)
    losses: Losses = []
    foreigner = CHAT.encode_request(foreign(), losses, quirk("nice", nice=of_row))

    assert (query, {"model", "messages"}) == (wire.query, set(body))
    assert ({"nice": "true"} if of_row else {}) == foreigner.query


def test_nice_is_a_boolean() -> None:
    """Any other value is malformed."""
    with pytest.raises(MalformedRequest):
        relayed(quirk("nice"), nice="yes")


RANGES = {"temperature": (0, 1), "max_tokens": (2, None), "logit_bias": (None, 5), "n": (1, 2)}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"max_tokens": 1}, "max_tokens"),
        ({"max_completion_tokens": 1}, "max_completion_tokens"),
        ({"logit_bias": {"1": 6}}, "logit_bias"),
        ({"n": 3}, "n"),
    ],
)
def test_a_range_is_kept(fields: dict[str, Any], param: str) -> None:
    """Outside of what the row documents a value is refused under the name that the caller gave it."""
    with pytest.raises(UnsupportedParameter) as refused:
        relayed(Traits(ranges=RANGES), **fields)

    assert param == refused.value.param


def test_a_range_holds_for_other_dialects_too() -> None:
    """Before anything is clamped to the official range; inside nothing happens."""
    with pytest.raises(UnsupportedParameter) as refused:
        written(foreign(max_output_tokens=1), Traits(ranges=RANGES))
    body, losses = written(foreign(max_output_tokens=2, temperature=1), Traits(ranges=RANGES))

    assert "max_output_tokens" == refused.value.param
    assert (2, 1, []) == (body["max_completion_tokens"], body["temperature"], losses)


# ── what it takes ──────────────────────────────────────────────────────────────────────


def test_only_what_it_takes_is_sent() -> None:
    """Any other field is dropped and named; what says nothing, in silence."""
    traits = Traits(takes=frozenset({"seed", "mine"}), own=frozenset({"mine"}))
    _, body, losses = relayed(traits, seed=1, mine=2, top_p=0.5, foo=3, bar=None, tools=[], stream=True)
    other, lost = written(foreign(seed=1, top_p=0.5, stream=True, include_usage=True), traits)

    assert {"model": "m", "messages": HI, "seed": 1, "mine": 2, "stream": True} == body
    assert ["top_p=dropped", "foo=dropped"] == losses
    assert ({"model": "m", "messages": HI, "seed": 1, "stream": True}, ["top_p=dropped"]) == (other, lost)


def test_tools_in_their_older_form_are_refused_where_only_the_newer_is_known() -> None:
    """To drop them would change the meaning."""
    traits = Traits(takes=frozenset({"tools"}))
    with pytest.raises(UnsupportedParameter) as refused:
        relayed(traits, functions=[{"name": "f"}])

    assert "functions" == refused.value.param
    assert [] == relayed(traits, functions=[])[2]


@pytest.mark.parametrize("asks", [True, None])
def test_only_one_option_of_streams_is_taken(asks: bool | None) -> None:
    """A row that names what it takes takes of `stream_options` the wish for usage: others are dropped."""
    options = {"include_obfuscation": True, **({"include_usage": asks} if asks else {})}
    _, body, losses = relayed(Traits(takes=frozenset({"stream_options"})), stream=True, stream_options=options)
    quiet = relayed(Traits(takes=frozenset({"stream_options"})), stream_options={"include_obfuscation": False})

    assert {"include_usage": True} == body["stream_options"]
    assert ["stream_options.include_obfuscation=dropped"] == losses
    assert ({}, []) == (quiet[1]["stream_options"], quiet[2])


def test_own_fields_pass_from_other_dialects() -> None:
    """What is the upstream's own is no loss, whoever sends it."""
    request = foreign(extra={"persona": "p", "foo": 1})

    body, losses = written(request, Traits(own=frozenset({"persona"})))

    assert ("p", ["foo=dropped"]) == (body["persona"], losses)


# ── messages ───────────────────────────────────────────────────────────────────────────


def test_messages_go_with_role_and_content() -> None:
    """Names and earlier thinking are dropped by their place; a refusal is what was said."""
    messages = [
        {"role": "user", "content": "Hi", "name": "n"},
        {"role": "assistant", "content": None, "refusal": "No.", "reasoning_content": "hm"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
    ]
    _, body, losses = relayed(quirk("role_and_content"), messages=messages)

    assert [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "No."},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ] == body["messages"]
    assert [
        "messages[0].name=dropped",
        "messages[1].refusal=approximated",
        "messages[1].reasoning_content=dropped",
    ] == losses


def test_what_a_role_has_no_place_for_is_dropped() -> None:
    """An empty list of calls says nothing; an id of a call belongs to its result."""
    messages = [
        {"role": "user", "content": "Hi", "tool_call_id": "c"},
        {"role": "assistant", "content": "Yes", "tool_calls": [], "refusal": "No."},
        {"role": "tool", "content": "4", "tool_call_id": "c"},
    ]
    _, body, losses = relayed(quirk("role_and_content"), messages=messages)

    assert [*turns(("user", "Hi"), ("assistant", "Yes")), messages[2]] == body["messages"]
    assert ["messages[0].tool_call_id=dropped", "messages[1].refusal=dropped"] == losses


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "refusal", "refusal": "No."}], "No."),
        ([{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "No."}], "a\nNo."),
    ],
)
def test_a_refusal_among_parts_is_text(parts: list[Any], text: str) -> None:
    """A server that takes one text gets it as such."""
    messages = turns(("user", "Hi"), ("assistant", parts), ("user", "Why?"))
    _, body, losses = relayed(quirk("text_only", "string_content"), messages=messages)

    assert (text, ["messages[1].content=approximated"]) == (body["messages"][1]["content"], losses)


def test_images_go_without_a_wish_for_detail() -> None:
    """`auto` is what the server does anyway; another wish is dropped."""
    wishes = [{**IMAGE, "image_url": {**IMAGE["image_url"], "detail": detail}} for detail in ("auto", "high")]  # type: ignore[dict-item]
    _, body, losses = relayed(quirk("data_urls"), messages=turns(("user", wishes), ("user", "b")))

    assert [*turns(("user", [IMAGE, IMAGE])), {"role": "user", "content": "b"}] == body["messages"]
    assert ["messages[0].content[1]=dropped"] == losses


def test_media_of_another_dialect_are_refused() -> None:
    """Where the message stood in the caller's body is not known any more: its list is named."""
    image = Message(role="user", parts=(Media(kind="image", mime_type="image/png", base64="AAAA"),))
    with pytest.raises(UnsupportedParameter) as refused:
        written(foreign(image), quirk("text_only"))

    assert "messages" == refused.value.param


# ── turns ──────────────────────────────────────────────────────────────────────────────

GOOD = [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c")]
SAID = "The assistant has already said:"


@pytest.mark.parametrize(
    ("given", "expected", "repairs"),
    [
        (GOOD, GOOD, 0),
        (GOOD[1:], GOOD[1:], 0),
        ([("user", "a"), ("user", ""), ("user", "b")], [("user", "a\n\nb")], 1),
        ([("system", "S"), ("system", "T"), ("user", "a")], [("system", "S\n\nT"), ("user", "a")], 1),
        ([("user", "a"), ("system", "S"), ("user", "b")], [("system", "S"), ("user", "a\n\nb")], 2),
        ([("assistant", "x"), ("user", "a")], [("system", f"{SAID}\nx"), ("user", "a")], 1),
        ([("assistant", ""), ("user", "a")], [("user", "a")], 1),
        (
            [("system", "S"), ("assistant", "x"), ("user", "a")],
            [("system", f"S\n\n{SAID}\nx"), ("user", "a")],
            1,
        ),
        (
            [("user", [{"type": "text", "text": "a"}, IMAGE]), ("user", "b")],
            [("user", [{"type": "text", "text": "a"}, IMAGE, {"type": "text", "text": "b"}])],
            1,
        ),
    ],
)
def test_turns_are_mended(given: Any, expected: Any, repairs: int) -> None:
    """One system message, then turns that alternate; each repair is told of."""
    _, body, losses = relayed(quirk("alternate_turns"), messages=turns(*given))

    assert (turns(*expected), ["messages=approximated"] * repairs) == (body["messages"], losses)


def test_turns_with_calls_are_not_joined() -> None:
    """A call and its result stay where they are."""
    messages = [
        *HI,
        {"role": "assistant", "content": "x", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
    ]

    assert messages == relayed(quirk("alternate_turns"), messages=messages)[1]["messages"]


def test_a_text_before_calls_is_one_turn_with_them() -> None:
    """Calls come last in their turn: what was said before them stands in it, and what comes after does not."""
    calling = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "4"}
    said = [*HI, *turns(("assistant", "a"), ("assistant", "b")), calling, result]
    _, body, losses = relayed(quirk("alternate_turns"), messages=said)

    assert [*HI, {**calling, "content": "a\n\nb"}, result] == body["messages"]
    assert ["messages=approximated"] == losses


@pytest.mark.parametrize("name", ["alternate_turns", "strict_turns"])
def test_a_prefill_is_refused(name: str) -> None:
    """A turn of the model at the end has a code of its own; so has nothing but system texts."""
    with pytest.raises(UnsupportedParameter) as prefill:
        relayed(quirk(name), messages=turns(("user", "a"), ("assistant", "b")))
    with pytest.raises(UnsupportedParameter) as silent:
        relayed(quirk(name), messages=turns(("system", "a")))

    assert ("unsupported_prefill", "unsupported_parameter") == (prefill.value.code, silent.value.code)


@pytest.mark.parametrize(
    "given",
    [
        [("user", "a"), ("user", "b")],
        [("assistant", "x"), ("user", "a")],
        [("user", "a"), ("system", "S"), ("user", "b")],
        [("system", "S"), ("system", "T"), ("user", "b")],
    ],
)
def test_strict_turns_are_demanded(given: Any) -> None:
    """What the other quirk mends is refused."""
    with pytest.raises(UnsupportedParameter):
        relayed(quirk("strict_turns"), messages=turns(*given))

    assert turns(*GOOD) == relayed(quirk("strict_turns"), messages=turns(*GOOD))[1]["messages"]


def test_every_change_has_a_place_in_the_order() -> None:
    """Turns are joined last, when their contents are texts."""
    assert {"alternate_turns", "strict_turns", "role_and_content"} == set(narrow.LATE_CHANGES)
    _, body, _ = relayed(
        quirk("string_content", "alternate_turns", "system_role"),
        messages=turns(("developer", "S"), ("user", [{"type": "text", "text": "a"}]), ("user", "b")),
    )

    assert turns(("system", "S"), ("user", "a\n\nb")) == body["messages"]


# ── switches ───────────────────────────────────────────────────────────────────────────


def test_tools_may_be_switches_of_the_upstream() -> None:
    """An object of booleans is no list of functions: it is the upstream's own. Any other object is malformed."""
    request = CHAT.decode_request(ask(tools={"web": True}))

    assert ((), {"tools": {"web": True}}) == (request.tools, request.extra)
    for bad in ({}, {"type": "function"}, {"web": 1}):
        with pytest.raises(MalformedRequest):
            ask(tools=bad)


@pytest.mark.parametrize(("field", "value"), [("functions", [{"name": "f"}]), ("function_call", "auto")])
def test_the_older_names_are_refused_with_the_newer(field: str, value: Any) -> None:
    """A row that rejects `tools` and `tool_choice` means these as well."""
    with pytest.raises(UnsupportedParameter) as refused:
        relayed(Traits(rejects=frozenset({"tools", "tool_choice"})), **{field: value})

    assert field == refused.value.param
