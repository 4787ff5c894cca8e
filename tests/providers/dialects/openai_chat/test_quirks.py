"""Each quirk in both lanes: what it changes, what it says, and that the caller's own values stay as they were."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from providers.canonical.chat import ChatRequest, Message, Reasoning, Text, ToolCall, ToolResult
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses
from providers.dialect import Traits
from providers.dialects.openai_chat import quirks

from .speak import CHAT, HI, ask, written

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "4"}
TOOL = {"type": "function", "function": {"name": "f", "strict": True}}


def traits(*names: str, **more: Any) -> Traits:
    return Traits(quirks=frozenset(names), **more)


def relayed(name: str, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """What of `fields` goes upstream in the relay lane, and the losses; the caller's request stays as it is."""
    asked = ask(**fields)
    before = copy.deepcopy(asked.body)
    losses: Losses = []
    body = json.loads(CHAT.relay_request(asked, "m", losses, traits(name)).body)
    assert before == asked.body
    return {key: value for key, value in body.items() if key in fields or key not in before}, [
        f"{loss.field}={loss.kind}" for loss in losses
    ]


def said(**message: Any) -> dict[str, Any]:
    return {"role": "assistant", **message}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


IMAGE = {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}


@pytest.mark.parametrize(
    ("quirk", "fields", "expected", "losses"),
    [
        ("max_tokens", {"max_completion_tokens": 9}, {"max_tokens": 9}, []),
        ("max_tokens", {"max_tokens": 9}, {"max_tokens": 9}, []),
        ("usage_unasked", {"stream": True}, {"stream": True}, []),
        ("usage_unasked", {"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}, []),
        (
            "usage_unasked",
            {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": True}},
            {"stream": True},
            ["stream_options=dropped"],
        ),
        ("one_choice", {"n": 1}, {}, []),
        ("one_choice", {"n": None}, {}, []),
        (
            "no_required_choice",
            {"tools": [TOOL], "tool_choice": "required"},
            {"tools": [TOOL], "tool_choice": "auto"},
            ["tool_choice=approximated"],
        ),
        (
            "no_required_choice",
            {"tools": [TOOL], "tool_choice": "none"},
            {"tools": [TOOL], "tool_choice": "none"},
            [],
        ),
        (
            "no_strict",
            {"tools": [{"type": "function", "function": {"name": "e", "strict": False}}, TOOL]},
            {"tools": [{"type": "function", "function": {"name": n}} for n in "ef"]},
            ["tools[1].function.strict=dropped"],
        ),
        (
            "no_nulls",
            {"seed": None, "messages": [*HI, said(content=None, refusal=None, tool_calls=[CALL]), RESULT]},
            {"messages": [*HI, said(content=None, tool_calls=[CALL]), RESULT]},
            [],
        ),
        (
            "no_names",
            {"messages": [{**HI[0], "name": "Ann"}, {**HI[0], "name": ""}]},
            {"messages": [*HI, *HI]},
            ["messages[0].name=dropped"],
        ),
        (
            "system_role",
            {"messages": [{"role": "developer", "content": "Be brief."}, *HI]},
            {"messages": [{"role": "system", "content": "Be brief."}, *HI]},
            [],
        ),
        (
            "string_content",
            {"messages": [user([text("a")]), user([text("b"), text("c")]), user([text("d"), IMAGE]), user("e")]},
            {"messages": [user("a"), user("b\nc"), user([text("d"), IMAGE]), user("e")]},
            ["messages[1].content=approximated"],
        ),
        (
            "string_content",
            {"messages": [user([text("a", cache_control={"type": "ephemeral"})])]},
            {"messages": [user("a")]},
            ["messages[0].content=approximated"],
        ),
        (
            "reasoning_back",
            {"messages": [*HI, said(content=None, tool_calls=[CALL]), RESULT, said(content="4"), *HI]},
            {
                "messages": [
                    *HI,
                    said(content=None, tool_calls=[CALL], reasoning_content=" "),
                    RESULT,
                    said(content="4"),
                    *HI,
                ]
            },
            ["messages[1].reasoning_content=invented"],
        ),
        (
            "reasoning_back",
            {"messages": [*HI, said(content=None, tool_calls=[CALL], reasoning_content="Hm."), RESULT]},
            {"messages": [*HI, said(content=None, tool_calls=[CALL], reasoning_content="Hm."), RESULT]},
            [],
        ),
        (
            "alternate",
            {"messages": [user("a"), user("b"), said(content="c"), said(content="d"), user("e")]},
            {"messages": [user("a\n\nb"), said(content="c\n\nd"), user("e")]},
            ["messages=approximated", "messages=approximated"],
        ),
        (
            "alternate",
            {"messages": [{"role": "system", "content": "s"}, {"role": "system", "content": "t"}, user("a")]},
            {"messages": [{"role": "system", "content": "s"}, {"role": "system", "content": "t"}, user("a")]},
            [],
        ),
        (
            "alternate",
            {"messages": [user("a"), said(content="b"), {"role": "system", "content": "s"}, user([IMAGE])]},
            {"messages": [user("a"), said(content="b"), user([text("s"), IMAGE])]},
            ["messages=approximated", "messages=approximated"],
        ),
        (
            "alternate",
            {"messages": [{**user("a"), "name": "Ann"}, {**user("b"), "name": "Bob"}]},
            {"messages": [{**user("a"), "name": "Ann"}, {**user("b"), "name": "Bob"}]},
            [],
        ),
        (
            "alternate",
            {"messages": [*HI, said(content=None, tool_calls=[CALL]), RESULT, said(content="4"), user("")]},
            {"messages": [*HI, said(content=None, tool_calls=[CALL]), RESULT, said(content="4"), user("")]},
            [],
        ),
    ],
)
def test_a_quirk_in_the_relay_lane(
    quirk: str, fields: dict[str, Any], expected: dict[str, Any], losses: list[str]
) -> None:
    """What the upstream cannot read is written as it can; what is lost on the way is named by its place."""
    assert (expected, losses) == relayed(quirk, **fields)


def test_a_stream_is_not_asked_for_usage_that_comes_by_itself() -> None:
    """`usage_unasked`, in the translate lane: no option, and nothing lost."""
    request = ChatRequest(dialect="x", model="m", messages=(), stream=True, include_usage=True)

    body, losses = written(request, traits("usage_unasked"))

    assert ({"model": "m", "messages": [], "stream": True}, []) == (body, losses)


def test_several_choices_are_refused() -> None:
    """`one_choice`: more than one is no wish that can be let go."""
    with pytest.raises(UnsupportedParameter) as caught:
        relayed("one_choice", n=2)

    assert "n" == caught.value.param


def test_thinking_goes_back_to_who_wants_it() -> None:
    """`reasoning_back`, in the translate lane: thinking of the history is sent, made up only where none is."""
    turn = (Reasoning(text="Hm.", at="contents[1].parts[0]"), ToolCall(id="c", name="f", arguments="{}"))
    answers = Message(role="tool", parts=(ToolResult(call_id="c", name="f", parts=(Text(text="4"),)),))
    history = (Message(role="assistant", parts=turn), answers)

    body, losses = written(ChatRequest(dialect="x", model="m", messages=history), traits("reasoning_back"))
    bare = (Message(role="assistant", parts=turn[1:]), answers)
    without, invented = written(ChatRequest(dialect="x", model="m", messages=bare), traits("reasoning_back"))

    assert ("Hm.", []) == (body["messages"][0]["reasoning_content"], losses)
    assert (" ", ["messages=invented"]) == (without["messages"][0]["reasoning_content"], invented)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gpt-5", "/openai/deployments/gpt-5/chat/completions"),
        ("a/../b?c#d é", "/openai/deployments/a%2F..%2Fb%3Fc%23d%20%C3%A9/chat/completions"),
    ],
)
def test_a_deployment_stands_in_the_path(model: str, path: str) -> None:
    """`deployments`, in both lanes: the name of the deployment is one segment, whatever is in it."""
    asked = ask(model="m", messages=HI)
    request = ChatRequest(dialect="x", model=model, messages=())

    assert path == CHAT.relay_request(asked, model, [], traits("deployments")).path
    assert path == CHAT.encode_request(request, [], traits("deployments")).path


def test_quirks_come_before_what_the_row_refuses() -> None:
    """A field that a quirk renames or takes away is judged by the name under which it would be sent."""
    asked = ask(n=1, max_completion_tokens=5)
    losses: Losses = []

    wire = CHAT.relay_request(
        asked,
        "m",
        losses,
        traits("one_choice", "max_tokens", rejects=frozenset({"n"}), ignores=frozenset({"max_tokens"})),
    )

    assert {"model": "m", "messages": HI} == json.loads(wire.body)
    assert ["max_tokens"] == [loss.field for loss in losses]


def test_messages_that_are_none_are_left_alone() -> None:
    """Quirks read what callers sent: odd values pass by, nothing is raised."""
    for name in quirks.QUIRKS:
        for messages in ([1, "x"], "x", None, {"a": 1}):
            body: dict[str, Any] = {"messages": messages, "tools": [1], "stream_options": 3}
            quirks.apply(frozenset({name}), body, [], exact=True)

            assert messages == body.get("messages", messages)


def test_every_quirk_is_explained() -> None:
    """docs/dialects.md has a line for each."""
    told = (Path(__file__).parents[4] / "docs" / "dialects.md").read_text(encoding="utf-8")

    assert [] == [name for name in quirks.QUIRKS if f"| `{name}` |" not in told]
