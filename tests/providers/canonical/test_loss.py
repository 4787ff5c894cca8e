"""Losses: how they are named, and how they are written in a header."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    CacheMark,
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Media,
    Message,
    Opaque,
    Refusal,
    ResponseFormat,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import (
    Loss,
    Losses,
    approximated,
    blame,
    dropped,
    header,
    in_callers_words,
    invented,
    lose_answer,
    lose_beside,
    lose_extras,
    lose_marks,
    lose_part,
    lose_stop,
    schema_place,
)


def request(**more: object) -> ChatRequest:
    return ChatRequest(dialect="theirs", model="m", messages=(), **more)  # type: ignore[arg-type]


def test_a_header_names_field_and_kind() -> None:
    """Entries in order, separated by a comma and a blank."""
    losses = [dropped("logit_bias", "no"), approximated("temperature", "clamped"), invented("max_tokens", "needed")]

    assert "logit_bias=dropped, temperature=approximated, max_tokens=invented" == header(losses)


def test_characters_that_would_break_the_header_are_encoded() -> None:
    """Commas, equals signs, controls and everything outside ASCII."""

    assert "a%2Cb%3Dc%0D%0A%C3%A9=dropped" == header([dropped("a,b=c\r\né", "odd")])


def test_a_long_header_joins_entries_of_one_list() -> None:
    """Under 4 KiB always: `messages=dropped` stands for all of them."""
    losses = [dropped(f"messages[{i}].content[0].annotations", "no") for i in range(500)]

    assert "messages=dropped" == header(losses)


@given(
    st.lists(
        st.builds(Loss, st.text(max_size=300), st.sampled_from(["dropped", "invented"]), st.just("why")), max_size=60
    )
)
def test_any_header_is_short_printable_ascii(losses: list[Loss]) -> None:
    """Whatever a caller calls a field."""
    text = header(losses)

    assert len(text) < 4096 and text.isascii() and (text == "" or text.isprintable())


def test_parameters_are_named_in_the_callers_words() -> None:
    """The dialect's usual place, or the one that the caller used; each once."""
    losses = [
        dropped("top_k", "no"),
        dropped("max_output_tokens", "no"),
        dropped("top_k", "again"),
        dropped("x[0]", "no"),
    ]
    named = in_callers_words(
        losses, request(paths={"max_output_tokens": "max_tokens"}), {"top_k": "generationConfig.topK"}
    )

    assert ["generationConfig.topK", "max_tokens", "x[0]"] == [loss.field for loss in named]


def test_what_only_the_callers_dialect_knows_is_declared_for_any_other() -> None:
    """`extra` of the request and of every value in it, under its own path."""
    inner = Text(text="b", at="messages[0].content[0]", extra={"odd": 1})
    whole = request(
        extra={"x": 1},
        tools=(Tool(name="t", at="tools[0]", extra={"y": 1}),),
        response_format=ResponseFormat(kind="text", at="response_format", extra={"z": 1}),
    )
    message = Message(
        role="tool",
        at="messages[0]",
        extra={"w": 1},
        parts=(ToolResult(call_id="1", parts=(inner,), extra={"v": 1}, at="messages[0]"),),
    )
    whole = msgspec.structs.replace(whole, messages=(message,))
    losses: list[Loss] = []
    lose_extras(whole, "ours", losses)
    fields = {loss.field for loss in losses}

    assert {
        "x",
        "tools[0].y",
        "response_format.z",
        "messages[0].w",
        "messages[0].v",
        "messages[0].content[0].odd",
    } == fields
    nothing: list[Loss] = []
    lose_extras(whole, "theirs", nothing)
    assert [] == nothing


def test_what_is_left_is_named_where_and_as_it_was_written() -> None:
    """Spelled as the caller did; of an object that is understood, each key that is left in it."""
    call = ToolCall(id="1", name="f", arguments="{}", extra={"function": {"odd": 1}, "x": 2}, at="m[0].tool_calls[0]")
    placed = msgspec.structs.replace(call, form={"inner": {"function": "m[0].tool_calls[0].function"}})
    tool = Tool(name="f", extra={"xY": 1}, form={"names": {"xY": "x_y"}}, at="tools[0]")
    losses: list[Loss] = []
    said = (Message(role="assistant", parts=(placed,), at="m[0]"),)
    spelled = {"generationConfig": "generation_config", "generationConfig.xY": "x_y"}
    asked = request(extra={"generationConfig.xY": 1}, form={"snake": spelled}, tools=(tool,))
    lose_extras(msgspec.structs.replace(asked, messages=said), "ours", losses)

    assert {
        "generation_config.x_y",
        "tools[0].x_y",
        "m[0].tool_calls[0].function.odd",
        "m[0].tool_calls[0].x",
    } == {loss.field for loss in losses}


def test_a_results_own_name_is_lost_where_it_is_not_its_calls() -> None:
    """Elsewhere ids pair the two."""
    call = ToolCall(id="1", name="f", arguments="{}")
    losses: list[Loss] = []
    for name in (None, "f", "g"):
        result = ToolResult(call_id="1", name=name, at="m[1]")
        said = (Message(role="assistant", parts=(call,)), Message(role="tool", parts=(result,)))
        lose_extras(msgspec.structs.replace(request(), messages=said), "ours", losses)

    assert ["m[1].named"] == [loss.field for loss in losses]


def test_what_a_mark_says_beside_its_time() -> None:
    """Named within the mark."""
    losses: list[Loss] = []
    lose_beside(CacheMark(at="m.cache_control", beside=("odd",)), losses)

    assert ["m.cache_control.odd"] == [loss.field for loss in losses]


def test_marks_and_foreign_seals_are_declared() -> None:
    """A cache mark always, a seal unless it comes from the target's own family."""
    part = Text(text="a", at="m[0]", cache=CacheMark(), seal=Seal(value="s", origin="gemini"))
    foreign: list[Loss] = []
    own: list[Loss] = []
    lose_marks(part, foreign, origin="anthropic")
    lose_marks(part, own, origin="gemini")

    assert (2, 1) == (len(foreign), len(own))


def test_an_unknown_field_named_like_a_parameter_keeps_its_name() -> None:
    """OpenRouter's `reasoning` is no reasoning_effort: what only its own dialect knows is named as it was written."""
    losses: list[Loss] = []
    asked = request(extra={"reasoning": {"enabled": True}})
    lose_extras(asked, "ours", losses)

    assert ["reasoning"] == [loss.field for loss in in_callers_words(losses, asked, {"reasoning": "reasoning_effort"})]


def test_what_stands_in_an_item_of_a_list_has_the_callers_words_too() -> None:
    """A dialect may call a tool's parameters otherwise: every index stays where it was."""
    names = {"tools[].parameters": "tools[].input_schema", "m[].c[].filename": "m[].c[].title"}
    fields = ["tools[3].parameters.properties.a[0]", "m[0].c[12].filename", "tools[3].parameters_", "tools[1].name"]
    losses = [Loss(field, "dropped", "x") for field in fields]

    assert ["tools[3].input_schema.properties.a[0]", "m[0].c[12].title", "tools[3].parameters_", "tools[1].name"] == [
        loss.field for loss in in_callers_words(losses, request(), names)
    ]


def test_a_refusal_names_the_callers_own_field() -> None:
    """Encoders refuse canonical parameters; the caller reads its own words."""
    error = UnsupportedParameter("cached_content: not held here", param="cached_content")
    blame(error, request(), {"cached_content": "cachedContent"})

    assert ("cachedContent", "cachedContent: not held here") == (error.param, error.message)


def test_what_an_answer_says_beyond_its_callers_language_is_named() -> None:
    """At every level, but for what repeats the request or says nothing; what is carried in part is approximated."""
    part = Text(text="x", extra={"phase": "final", "id": "msg_1"})
    ratings = {"safetyRatings": [{"blocked": True}], "groundingMetadata": {"a": 1}, "message": {"tool_name": "f"}}
    choice = Choice(parts=(part,), extra={**ratings, "citationMetadata": {}})
    losses: list[Loss] = []
    lose_answer(ChatResponse(choices=(choice,), extra={"tools": [1], "moderation": {"a": 1}, "error": None}), losses)

    expected = ["moderation=dropped", "safetyRatings=dropped", "groundingMetadata=approximated", "tool_name=dropped"]
    assert [*expected, "phase=dropped"] == [f"{loss.field}={loss.kind}" for loss in losses]


def test_parts_without_a_place_are_named_by_their_kind() -> None:
    """`message.image` says more than `message`; and so does the sequence that ended an answer."""
    losses: Losses = []
    for part in (Media(kind="image", base64="AA=="), Opaque(dialect="x", kind="search", raw={}), Refusal(text="no")):
        lose_part("message", part, losses)
    lose_stop(Finish(reason="stop", stop_sequence="END"), losses)
    lose_stop(Finish(reason="stop"), losses)

    assert ["message.image", "message.search", "message.refusal", "stop_sequence"] == [one.field for one in losses]
    assert {"dropped"} == {one.kind for one in losses}


def test_a_schema_stands_beside_its_name_or_on_its_own() -> None:
    """Where a loss of the schema is, in each caller's own body."""
    beside = ResponseFormat(kind="json_schema", at="response_format.json_schema")
    alone = ResponseFormat(kind="json_schema", at="format", form={"schema": "format"})

    assert "response_format.json_schema.schema" == schema_place(beside)
    assert "format" == schema_place(alone)
    assert "response_format" == schema_place(ResponseFormat(kind="json_schema"))
