"""The output of an answer: items to parts, parts to items."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import (
    Citation,
    Logprobs,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    Seal,
    Text,
    TokenLogprob,
    ToolCall,
)
from providers.dialects.openai_responses.output import Output, own_items, read_output
from providers.dialects.openai_responses.words import carried
from tests.providers.dialects.openai_responses.speak import call, meaning, message, reasoning

SEAL = Seal(value="sig", origin="gemini")
CALL = ToolCall(id="c1", name="f", arguments='{"a":1}')


def items(*parts: Any, logprobs: Logprobs | None = None) -> tuple[list[Any], list[str]]:
    """The items of another dialect's answer, and the losses."""
    losses: list[Any] = []
    output = Output("0" * 20, losses, logprobs)
    for part in parts:
        output.add(part)
    return output.items, [f"{loss.field}={loss.kind}" for loss in losses]


def kinds(*parts: Any) -> list[str]:
    return [item["type"] for item in items(*parts)[0]]


# ── reading ────────────────────────────────────────────────────────────────────────────


def test_parts_in_the_order_of_items() -> None:
    """Each content part of a message is a part of its own."""
    parts, logprobs = read_output([reasoning("hm"), message("a", "b"), call()])

    assert [Reasoning, Text, Text, ToolCall] == [type(part) for part in parts]
    assert logprobs is None


def test_log_probabilities_are_of_the_whole_answer() -> None:
    """Those of all texts together."""
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    one, two = message("a"), message("b")
    one["content"][0]["logprobs"] = [token]
    two["content"][0]["logprobs"] = [{**token, "token": "b", "bytes": [98]}]
    _, logprobs = read_output([one, two])

    assert logprobs is not None
    assert ["a", "b"] == [one.token for one in logprobs.content or ()]


def test_calls_without_an_id_get_one() -> None:
    """The item's own where it has one; always the same."""
    [own], _ = read_output([call(call_id="")])
    [made], _ = read_output([call(call_id=None, id=None)])
    [again], _ = read_output([call(call_id=None, id=None)])

    assert isinstance(own, ToolCall)
    assert isinstance(made, ToolCall)
    assert ("fc_1", True) == (own.id, own.invented_id)
    assert made.invented_id
    assert made == again


def test_arguments_may_come_as_an_object() -> None:
    """They are written as JSON text."""
    [found], _ = read_output([call(arguments={"a": 1})])

    assert isinstance(found, ToolCall)
    assert '{"a":1}' == found.arguments


def test_what_the_provider_ran_itself_is_no_call() -> None:
    """Nobody is asked to run it."""
    found, _ = read_output([{"type": "mcp_call", "id": "mcp_1", "name": "f", "arguments": "{}"}])

    assert [Opaque] == [type(part) for part in found]


# ── writing ────────────────────────────────────────────────────────────────────────────


def test_texts_that_follow_each_other_are_one_message() -> None:
    """What stands between them ends it; ids differ."""
    found, losses = items(Text(text="a"), Refusal(text="no"), CALL, Text(text="b"))

    assert ["message", "function_call", "message"] == [item["type"] for item in found]
    assert ["output_text", "refusal"] == [part["type"] for part in found[0]["content"]]
    assert 3 == len({item["id"] for item in found})
    assert [] == losses


def test_calls() -> None:
    """The id of the call and that of the item are two; custom input is text; no arguments are none."""
    found, _ = items(
        CALL, ToolCall(id="c2", name="g", arguments="x", kind="custom"), ToolCall(id="c3", name="h", arguments="")
    )

    assert ["c1", "c2", "c3"] == [item["call_id"] for item in found]
    assert ['{"a":1}', None, "{}"] == [item.get("arguments") for item in found]
    assert "x" == found[1]["input"]
    assert ["fc_", "ctc", "fc_"] == [item["id"][:3] for item in found]


def test_thinking_of_others_is_a_summary() -> None:
    """With its own signature, if it has one, which says whose it is."""
    [found], losses = items(Reasoning(text="hm", seal=Seal(value="s", origin="anthropic")))
    seal = carried(found["encrypted_content"])

    assert [{"type": "summary_text", "text": "hm"}] == found["summary"]
    assert seal is not None
    assert ("anthropic", "self", "s") == (seal.origin, seal.kind, seal.value)
    assert [] == losses
    assert "encrypted_content" not in items(Reasoning(text="hm"))[0][0]


def test_signatures_travel_behind_what_they_are_on() -> None:
    """In an item of their own, for a stream has them only then."""
    found, _ = items(ToolCall(id="c1", name="f", arguments="{}", seal=SEAL), Text(text="ab", seal=SEAL))
    seals = [carried(item.get("encrypted_content")) for item in found]

    assert ["function_call", "reasoning", "message", "reasoning"] == [item["type"] for item in found]
    assert [None, ("gemini", "call", "c1", "sig"), None, ("gemini", "text", 2, "sig")] == seals


def test_an_empty_text_may_be_there_only_to_be_signed() -> None:
    """Then nothing is said."""
    assert ["message", "reasoning"] == kinds(Text(text="a"), Text(text="", seal=SEAL))
    assert ["message"] == kinds(Text(text=""))


def test_pictures() -> None:
    """As this dialect's own tool gives them; other media have no place."""
    found, losses = items(Media(kind="image", mime_type="image/png", base64="AA==", seal=SEAL))
    nothing, lost = items(Media(kind="audio", base64="AA=="), Media(kind="image", url="https://a.example"))

    assert [("image_generation_call", "AA==", "png")] == [(i["type"], i["result"], i["output_format"]) for i in found]
    assert ["output.signature=dropped"] == losses
    assert ([], ["output.audio=dropped", "output.image=dropped"]) == (nothing, lost)


def test_blocks_of_others() -> None:
    """Are a loss; this dialect's own are items."""
    own = Opaque(dialect="openai.responses", kind="x", raw={"type": "x"})

    assert ([{"type": "x"}], ["output.z=dropped"]) == items(own, Opaque(dialect="y", kind="z", raw={}))


def test_sources_and_log_probabilities_of_a_text() -> None:
    """All keys that the schema asks for; a source without a URL is none here."""
    cited = Text(text="ab", citations=(Citation(url="https://a.example"), Citation(title="no URL")))
    tokens = Logprobs(content=(TokenLogprob(token="ab", logprob=-1.0),))
    [found], losses = items(cited, logprobs=tokens)
    [part] = found["content"]

    annotation = {"type": "url_citation", "url": "https://a.example", "title": "", "start_index": 0, "end_index": 2}
    assert [annotation] == part["annotations"]
    assert [{"token": "ab", "logprob": -1.0, "bytes": [97, 98], "top_logprobs": []}] == part["logprobs"]
    assert ["output.annotations=dropped"] == losses


@pytest.mark.parametrize(
    "output",
    [
        [reasoning("a"), message("b", phase="final_answer"), call(namespace="n")],
        [message(), message("a", "b")],
        [message(content=[{"type": "refusal", "refusal": "no"}, {"type": "novel", "x": 1}])],
        [{"type": "web_search_call", "id": "ws_1"}, {"type": "image_generation_call", "id": "i", "result": "AA=="}],
        [{"id": "c", "type": "custom_tool_call", "status": "completed", "call_id": "c", "name": "f", "input": "x"}],
        [message(content=[{"type": "novel"}, {"type": "output_text", "text": "a", "annotations": []}])],
    ],
)
def test_own_items_come_back_as_they_were(output: list[Any]) -> None:
    """Whatever this dialect's models say."""
    parts, _ = read_output(output)

    assert output == own_items(parts, "0", [])


def test_own_parts_of_a_stream_become_items() -> None:
    """They have no spelling: reasoning comes back by its seal."""
    parts, _ = read_output([reasoning("a"), message("b"), call()])
    bare = [type(part)(**{k: v for k, v in fields(part).items() if k != "form"}) for part in parts]
    found = own_items(bare, "0", [])

    assert [reasoning("a"), message("b"), call()] == [
        {**item, "content": [{**part, "logprobs": []} for part in item["content"]]} if "content" in item else item
        for item in found
    ]


def fields(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__struct_fields__}


def test_meaning_is_kept() -> None:
    """What another dialect's model said reads the same here."""
    parts = (Reasoning(text="hm"), Text(text="a"), CALL, Refusal(text="no"))
    again, _ = read_output(items(*parts)[0])

    def bare(part: Any) -> Any:
        return {key: value for key, value in meaning(part).items() if key != "extra"}

    assert [bare(part) for part in parts] == [bare(part) for part in again]
