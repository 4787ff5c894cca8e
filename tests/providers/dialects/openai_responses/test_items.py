"""The input, read: items to messages and parts."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import (
    CacheMark,
    Citation,
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    ToolResult,
)
from providers.canonical.errors import UnsupportedParameter
from providers.dialects.openai_responses.words import carry, made_id
from tests.providers.dialects.openai_responses.speak import call, decoded, meaning, message, reasoning, written

RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "3"}


def messages(*items: Any, **fields: Any) -> tuple[Message, ...]:
    return decoded(input=list(items), **fields).messages


def turn(*items: Any) -> list[Any]:
    """The parts of the one turn that the items are."""
    [found] = messages(*items)
    assert "assistant" == found.role
    return [meaning(part) for part in found.parts]


def means(part: Any) -> Any:
    return meaning(part)


def part_of(raw: Any, role: str = "user") -> Any:
    [found] = messages({"role": role, "content": [raw]})
    [part] = found.parts
    return part


# ── turns ──────────────────────────────────────────────────────────────────────────────


def test_a_string_is_a_message_of_the_user() -> None:
    """And instructions are a system message before it."""
    found = decoded(input="Hi", instructions="Be brief.").messages

    assert [("system", "Be brief."), ("user", "Hi")] == [(one.role, one.parts[0].text) for one in found]  # type: ignore[union-attr]
    assert ["instructions", "input"] == [one.at for one in found]


def test_roles() -> None:
    """A developer is the system; the type of a message may be left out."""
    items = [{"role": role, "content": "x"} for role in ("user", "assistant", "system", "developer")]
    found = messages(*items, {"type": "message", "role": "user", "content": "y"})

    assert ["user", "assistant", "system", "system", "user"] == [one.role for one in found]


def test_items_of_the_model_are_one_turn() -> None:
    """Other dialects have turns: reasoning, text and calls that follow each other; their results do not belong."""
    found = messages(
        {"role": "user", "content": "?"}, reasoning("hm"), message("I look."), call(), call(call_id="call_2"), RESULT
    )

    assert ["user", "assistant", "tool"] == [one.role for one in found]
    assert [Reasoning, Text, ToolCall, ToolCall] == [type(part) for part in found[1].parts]
    assert "input[1]" == found[1].at


def test_a_call_is_paired_by_its_call_id() -> None:
    """The item's own id is no more than that."""
    found = messages(call(), RESULT)
    first, result = found[0].parts[0], found[1].parts[0]

    assert isinstance(first, ToolCall)
    assert isinstance(result, ToolResult)
    assert ("call_1", "f", '{"a":1}', {"id": "fc_1"}) == (first.id, first.name, first.arguments, first.extra)
    assert ("call_1", "3") == (result.call_id, result.parts[0].text)  # type: ignore[union-attr]


def test_custom_calls() -> None:
    """Their input is text; results of both kinds are the same."""
    raw = {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "free text"}
    found = messages(raw, {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"})
    first = found[0].parts[0]

    assert isinstance(first, ToolCall)
    assert ("custom", "free text") == (first.kind, first.arguments)
    assert ["assistant", "tool"] == [one.role for one in found]


def test_parts_of_a_result() -> None:
    """Text, images and files; others are known only to this dialect."""
    output = [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "https://a.example/x.png"},
        {"type": "refusal", "refusal": "no"},
    ]
    [_, found] = messages(call(), {**RESULT, "output": output})
    [result] = found.parts

    assert isinstance(result, ToolResult)
    assert [Text, Media, Opaque] == [type(part) for part in result.parts]


# ── reasoning ──────────────────────────────────────────────────────────────────────────


def test_reasoning_shows_its_texts_and_seals_its_item() -> None:
    """The summary, then the thoughts themselves; the state is good only with its item."""
    raw = reasoning("a", "b", content=[{"type": "reasoning_text", "text": "c"}])
    [[found]] = [one.parts for one in messages(raw)]

    assert isinstance(found, Reasoning)
    assert ("a\n\nb\n\nc", {"id": "rs_1"}, False) == (found.text, found.extra, found.redacted)
    assert found.seal is not None
    assert ("openai", "input[0].encrypted_content") == (found.seal.origin, found.seal.at)


def test_reasoning_without_words_or_state() -> None:
    """Only sealed: redacted. With neither, only its own upstream knows what it is."""
    assert [("Reasoning", True)] == [(part["is"], part["redacted"]) for part in turn(reasoning())]
    assert ["Opaque"] == [part["is"] for part in turn(reasoning(sealed=None))]


def test_signatures_of_others_return_to_what_they_were_on() -> None:
    """A call by its id, wherever the client has put the item; reasoning in its own item."""
    seal = Seal(value="sig", origin="gemini")
    carrier = reasoning(sealed=carry(seal, "call", "call_1"), id=made_id("rs", "0", 1))
    own = reasoning("hm", sealed=carry(Seal(value="s", origin="anthropic"), "self"), id=made_id("rs", "0", 0))
    for items in ([own, call(), carrier], [own, carrier, call()]):
        thought, made = turn(*items)

        assert ("hm", "anthropic", "s") == (thought["text"], thought["seal"]["origin"], thought["seal"]["value"])
        assert ("gemini", "sig") == (made["seal"]["origin"], made["seal"]["value"])


@pytest.mark.parametrize(
    ("texts", "length", "expected"),
    [
        (["abc"], 3, [("abc", "sig")]),
        (["abc"], 2, [("a", None), ("bc", "sig")]),
        (["abc"], 0, [("abc", None), ("", "sig")]),
        (["ab", "c"], 1, [("ab", None), ("c", "sig")]),
        (["ab"], 5, [("ab", None), ("", "sig")]),
        ([], 0, [("", "sig")]),
    ],
)
def test_signatures_of_texts(texts: list[str], length: int, expected: list[Any]) -> None:
    """Of the text before, or of its last piece: clients join what came in pieces."""
    carrier = reasoning(sealed=carry(Seal(value="sig", origin="gemini"), "text", length))
    found = turn(*([message(*texts)] if texts else []), carrier)

    assert expected == [(part["text"], part["seal"] and part["seal"]["value"]) for part in found]


def test_a_signature_without_its_call_is_kept() -> None:
    """The client has dropped the call; nothing is lost in silence."""
    carrier = reasoning(sealed=carry(Seal(value="sig", origin="gemini"), "call", "gone"))
    found = turn(message("Hi"), carrier)

    assert ["Text", "Reasoning"] == [part["is"] for part in found]
    assert "sig" == found[1]["seal"]["value"]


# ── parts ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"type": "input_text", "text": "a"}, Text(text="a")),
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
            Text(text="a", cache=CacheMark(ttl="30m", at="input[0].content[0].prompt_cache_breakpoint")),
        ),
        (
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            Media(kind="image", mime_type="image/png", base64="AA==", detail="low"),
        ),
        (
            {"type": "input_image", "image_url": "https://a.example/x.png"},
            Media(kind="image", url="https://a.example/x.png"),
        ),
        ({"type": "input_image", "file_id": "file-1"}, Media(kind="image", file_id="file-1")),
        (
            {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
            Media(kind="file", mime_type="application/pdf", base64="AA==", name="a.pdf"),
        ),
        ({"type": "input_file", "file_data": "AA=="}, Media(kind="file", base64="AA==")),
        (
            {"type": "input_file", "file_url": "https://a.example/x"},
            Media(kind="file", url="https://a.example/x"),
        ),
        (
            {"type": "input_file", "file_id": "file-1", "detail": "high"},
            Media(kind="file", file_id="file-1", detail="high"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            Media(kind="audio", mime_type="audio/wav", base64="AA=="),
        ),
        ({"type": "refusal", "refusal": "no"}, Refusal(text="no")),
        ({"type": "novel", "x": 1}, Opaque(dialect="openai.responses", kind="novel", raw={"type": "novel", "x": 1})),
    ],
)
def test_parts(raw: Any, expected: Any) -> None:
    """What each part of content is."""
    assert means(expected) == means(part_of(raw))


def test_sources_of_a_text() -> None:
    """URLs as citations; others are kept whole."""
    url = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}
    file = {"type": "file_citation", "file_id": "f", "filename": "a", "index": 0}
    found = part_of({"type": "output_text", "text": "ab", "annotations": [url, file]}, "assistant")

    at = "input[0].content[0].annotations"
    assert (
        Citation(url="https://a.example", title="A", start=0, end=2, at=at),
        Citation(extra={"annotation": file}, at=at),
    ) == found.citations


# ── what only this dialect knows ───────────────────────────────────────────────────────


def test_items_of_built_in_tools_are_opaque() -> None:
    """In the turn of the model that they belong to."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}

    assert ["Opaque", "Text"] == [part["is"] for part in turn(search, message("Hi"))]


def test_pictures_that_the_model_made() -> None:
    """Are media; a picture that is not there is not."""
    picture = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AA=="}

    assert [("Media", "AA==", "image/png")] == [
        (part["is"], part["base64"], part["mime_type"]) for part in turn(picture)
    ]
    assert ["Opaque"] == [part["is"] for part in turn({**picture, "result": None})]


@pytest.mark.parametrize(
    ("items", "roles"),
    [
        (["user", "tools"], ["user"]),
        (["tools", "user"], ["user"]),
        (["tools"], ["assistant"]),
        (["call", "result", "tools"], ["assistant", "tool", "assistant"]),
        (["call", "result", "tools", "user"], ["assistant", "tool", "user"]),
        (["call", "tools", "result"], ["assistant", "tool"]),
    ],
)
def test_what_the_caller_brought_makes_no_turn_of_its_own(items: list[str], roles: list[str]) -> None:
    """It stands with its neighbour, so that elsewhere nothing is left of it, not even an empty message."""
    raws = {
        "user": {"role": "user", "content": "Hi"},
        "tools": {"type": "additional_tools", "role": "developer", "tools": []},
        "call": call(),
        "result": RESULT,
    }

    assert roles == [one.role for one in messages(*(raws[name] for name in items))]


@pytest.mark.parametrize("raw", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}])
def test_references_are_refused(raw: Any) -> None:
    """What they refer to is held elsewhere: without it the conversation would be another one."""
    with pytest.raises(UnsupportedParameter) as raised:
        messages({"role": "user", "content": "Hi"}, raw)

    assert "input[1]" == raised.value.param


# ── spellings ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "items",
    [
        [{"role": "developer", "content": [{"type": "text", "text": "a"}]}],
        [{"type": "message", "role": "user", "content": []}],
        [message(), message("a", "b"), {"role": "assistant", "content": "c", "phase": "commentary"}],
        [reasoning("a"), call(status="incomplete", namespace="n"), RESULT, {**RESULT, "id": "fco_1", "status": None}],
        [{**RESULT, "call_id": None, "name": "f", "output": []}],
        [{"type": "additional_tools", "role": "developer", "tools": []}, {"role": "user", "content": "x"}],
        [{"role": "user", "content": [{"type": "novel"}, {"type": "input_text", "text": "a", "novel": 1}]}],
        [{"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]}],
        [{"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AA=="}],
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}],
    ],
)
def test_items_come_out_as_they_went_in(items: list[Any]) -> None:
    """Towards this dialect, however they are spelled."""
    assert ({"model": "m", "input": items}, []) == written(decoded({"model": "m", "input": items}))
