"""How much to think, in the words of each family of models."""

from __future__ import annotations

from typing import Any

import pytest

from providers.canonical.chat import (
    Message,
    Reasoning,
    ReasoningConfig,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from providers.canonical.loss import Loss
from tests.providers.dialects.bedrock.spoken import CLAUDE, HI, request, sent

Json = Any

NEWER = "us.anthropic.claude-sonnet-4-6"
NEWEST = "us.anthropic.claude-opus-4-8"
ALWAYS = "us.anthropic.claude-opus-5-5"
NOVA = "us.amazon.nova-2-lite-v1:0"


def fields(model: str, losses: list[Loss] | None = None, *messages: Message, **more: Json) -> Json:
    return sent(request(*messages, model=model, **more), losses).get("additionalModelRequestFields", {})


def thinking(**more: Json) -> ReasoningConfig:
    return ReasoningConfig(**more)


@pytest.mark.parametrize(
    ("wanted", "most", "budget", "kinds"),
    [
        (thinking(budget=4000), None, 4000, []),
        (thinking(budget=100), None, 1024, ["approximated"]),
        (thinking(budget=-1), None, 8192, ["approximated"]),
        (thinking(effort="low"), None, 2048, ["approximated"]),
        (thinking(effort="max"), None, 32768, ["approximated"]),
        (thinking(effort="high"), 8000, 4000, ["approximated"]),
        (thinking(effort="high"), 1500, 1024, ["approximated"]),
        (thinking(budget=4000), 4001, 4000, []),
        (thinking(budget=4000), 3000, 2999, ["approximated"]),
        (thinking(effort="low"), 1024, None, ["dropped"]),
        (thinking(effort="none"), None, None, []),
        (thinking(budget=0), None, None, []),
        (thinking(show=True), None, None, ["dropped"]),
        (thinking(effort="immense"), None, None, ["dropped"]),
        (None, None, None, []),
    ],
)
def test_a_budget_of_tokens(wanted: Json, most: int | None, budget: int | None, kinds: list[str]) -> None:
    """At least 1024 and less than what may be answered at all; an effort is a number there, which is told."""
    losses: list[Loss] = []
    found = fields(CLAUDE, losses, reasoning=wanted, max_output_tokens=most)

    assert ({} if budget is None else {"thinking": {"type": "enabled", "budget_tokens": budget}}) == found
    assert kinds == [loss.kind for loss in losses]


def test_thinking_that_cannot_go_on_is_switched_off() -> None:
    """A caller that brings a call without the thinking that led to it would be refused, were it to think now."""
    call = ToolCall(id="c", name="f", arguments="{}")
    result = Message(role="tool", parts=(ToolResult(call_id="c", parts=(Text(text="1"),)),))
    seal = Seal(value="EpYF", origin="bedrock")
    losses: list[Loss] = []
    history = (HI, Message(role="assistant", parts=(call,)), result)
    signed = (HI, Message(role="assistant", parts=(Reasoning(text="hm", seal=seal), call)), result)
    over = (*history, Message(role="assistant", parts=(Text(text="Done."),)), HI)

    assert {} == fields(CLAUDE, losses, *history, reasoning=thinking(budget=2000))
    assert ("reasoning", "dropped") in [(loss.field, loss.kind) for loss in losses]
    assert "thinking" in fields(CLAUDE, None, *signed, reasoning=thinking(budget=2000))
    assert "thinking" in fields(CLAUDE, None, *over, reasoning=thinking(budget=2000))


@pytest.mark.parametrize(
    ("model", "wanted", "effort", "kinds"),
    [
        (NEWER, thinking(effort="high"), "high", []),
        (NEWER, thinking(effort="minimal"), "low", ["approximated"]),
        (NEWER, thinking(effort="xhigh"), "max", ["approximated"]),
        (NEWEST, thinking(effort="xhigh"), "xhigh", []),
        (NEWEST, thinking(budget=9000), "high", ["approximated"]),
        (NEWEST, thinking(budget=10**6), "max", ["approximated"]),
        (NEWEST, thinking(budget=-1), None, []),
        (ALWAYS, thinking(effort="none"), "low", ["approximated"]),
    ],
)
def test_models_that_decide_themselves(model: str, wanted: Json, effort: str | None, kinds: list[str]) -> None:
    """They take an effort, the nearest that they have, and show a summary unless the caller wants none."""
    losses: list[Loss] = []
    found = fields(model, losses, reasoning=wanted)

    assert {"type": "adaptive", "display": "summarized"} == found["thinking"]
    assert effort == found.get("output_config", {}).get("effort")
    assert kinds == [loss.kind for loss in losses]


def test_thinking_is_switched_off_where_it_can_be() -> None:
    """Newer models think by default: no thinking has to be said. Thinking may be kept to itself."""
    assert {"thinking": {"type": "disabled"}} == fields(NEWEST, reasoning=thinking(effort="none"))
    assert {"thinking": {"type": "disabled"}} == fields(NEWEST, reasoning=thinking(budget=0))
    hidden = fields(NEWEST, reasoning=thinking(effort="low", show=False))
    assert {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}} == hidden


@pytest.mark.parametrize(
    ("model", "effort", "found", "kinds"),
    [
        (NOVA, "high", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}, []),
        (NOVA, "none", {"reasoningConfig": {"type": "disabled"}}, []),
        ("openai.gpt-oss-120b-1:0", "medium", {"reasoning_effort": "medium"}, []),
        ("openai.gpt-oss-120b-1:0", "none", {"reasoning_effort": "low"}, ["approximated"]),
        ("openai.gpt-6-luna", "xhigh", {"reasoning": {"effort": "xhigh"}}, []),
        ("openai.gpt-6-luna", "none", {"reasoning": {"effort": "none"}}, []),
        ("amazon.nova-lite-v1:0", "high", {}, ["dropped"]),
        ("amazon.nova-lite-v1:0", "none", {}, []),
    ],
)
def test_other_families(model: str, effort: str, found: Json, kinds: list[str]) -> None:
    """Each spells it otherwise; a model that cannot be told is not told, which is."""
    losses: list[Loss] = []

    assert found == fields(model, losses, reasoning=thinking(effort=effort))
    assert kinds == [loss.kind for loss in losses]


def test_an_amount_that_nobody_says() -> None:
    """Only whether to show it: that is left to the model."""
    assert {} == fields(NOVA, reasoning=thinking(show=True))


def test_what_does_not_go_with_thinking() -> None:
    """Claude samples only at 1 while it thinks: told, not refused."""
    losses: list[Loss] = []
    body = sent(
        request(
            model=CLAUDE,
            reasoning=thinking(budget=2000),
            temperature=0.5,
            top_p=0.9,
            top_k=5,
            tools=(),
            tool_choice=ToolChoice(mode="required"),
        ),
        losses,
    )

    assert "inferenceConfig" not in body
    assert ["temperature", "top_p", "top_k", "tool_choice"] == [loss.field for loss in losses]
    assert {"temperature": 1} == sent(request(reasoning=thinking(budget=2000), temperature=1))["inferenceConfig"]


@pytest.mark.parametrize(
    ("model", "wanted", "names", "thinks", "lost"),
    [
        (CLAUDE, thinking(budget=2000), (), False, ["reasoning"]),
        (CLAUDE, thinking(effort="low"), ("look",), False, ["reasoning"]),
        (CLAUDE, thinking(budget=0), (), False, []),
        (NEWER, thinking(effort="low"), (), True, []),
    ],
)
def test_a_call_that_is_forced_goes_before_thinking(
    model: str, wanted: ReasoningConfig, names: tuple[str, ...], thinks: bool, lost: list[str]
) -> None:
    """With a budget Claude cannot be made to call a tool: the thinking is given up, as in Anthropic's own dialect."""
    losses: list[Loss] = []
    choice = ToolChoice(mode="required", names=names)
    body = sent(request(model=model, reasoning=wanted, tools=(Tool(name="look"),), tool_choice=choice), losses)

    assert body["toolConfig"]["toolChoice"] in ({"any": {}}, {"tool": {"name": "look"}})
    assert thinks == ("thinking" in body.get("additionalModelRequestFields", {}))
    assert lost == [loss.field for loss in losses]
