"""Requests: every field carried in this dialect; from another one, the schema kept and every loss named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.canonical.chat import (
    AudioConfig,
    CacheMark,
    ChatRequest,
    ReasoningConfig,
    ResponseFormat,
    SafetySetting,
    ServerTool,
    Tool,
    ToolChoice,
)
from providers.canonical.errors import UnsupportedParameter
from providers.canonical.loss import Losses, in_callers_words, lose_extras
from providers.dialect import PLAIN, Traits, WireRequest
from providers.dialects import DIALECTS
from tests.corpus import definitions, schema
from tests.providers.dialects.ollama.speak import HI, OLLAMA, PIXEL, ask, decoded, foreign, recorded, written

REQUEST = schema("ollama.chat.request", "ChatRequest")
CHAT = DIALECTS["openai.chat"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="get_weather", description="Weather of a city", parameters=SCHEMA, at="tools[0].function")
OPTIONS = definitions("ollama.chat.request")["$defs"]["Options"]["properties"]


def sent(request: ChatRequest, traits: Traits = PLAIN) -> tuple[dict[str, Any], list[str]]:
    """What goes upstream; it fits the schema."""
    body, losses = written(request, traits)
    REQUEST.validate(body)
    return body, losses


# ── this dialect's own ─────────────────────────────────────────────────────────────────


def test_recorded_requests_come_back_equal() -> None:
    """Decoded and encoded again, what programs send is the same JSON at the same path, and nothing is lost."""
    count = 0
    for task, case in recorded():
        if task == "embeddings":
            continue
        request = decoded(case["request_body"], task)
        count += 1

        assert (case["request_body"], []) == written(request), case["id"]
        assert f"/api/{task}" == OLLAMA.encode_request(request, []).path
    assert count >= 5


def value_of(kind: dict[str, Any]) -> Any:
    """A value that an option may have."""
    one = kind["anyOf"][0]
    return {"boolean": True, "integer": 3, "number": 0.5, "array": ["END"]}[one["type"]]


FIELDS: list[tuple[str, Any]] = [
    *((f"options.{name}", value_of(kind)) for name, kind in OPTIONS.items()),
    ("options.num_predict", -1),
    ("options.num_predict", -2),
    ("options.novel", [1]),
    ("options.seed", None),
    ("stream", False),
    ("stream", None),
    ("format", "json"),
    ("format", SCHEMA),
    ("format", ""),
    ("format", None),
    ("keep_alive", "5m"),
    ("keep_alive", 0),
    ("keep_alive", None),
    ("options", None),
    ("options", {}),
    ("tools", []),
    ("tools", [{"type": "function", "function": {"name": "f", "description": "", "parameters": SCHEMA, "x": 1}}]),
    ("tools", [{"function": {"name": "f"}, "items": None, "y": 2}, {"type": "web_search", "z": 1}]),
    ("think", True),
    ("think", False),
    ("think", "high"),
    ("think", ""),
    ("logprobs", True),
    ("top_logprobs", 5),
    ("truncate", True),
    ("novel", {"a": [1, None]}),
]


def body_with(path: str, value: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "m", "messages": HI}
    outer, _, key = path.rpartition(".")
    (body.setdefault(outer, {}) if outer else body)[key] = value
    return body


@pytest.mark.parametrize(("path", "value"), FIELDS, ids=lambda value: json.dumps(value)[:60])
def test_every_field_is_carried(path: str, value: Any) -> None:
    """Each field and option, with each kind of value, comes back as it was."""
    body = body_with(path, value)

    assert (body, []) == written(decoded(body))


@pytest.mark.parametrize(("path", "value"), FIELDS, ids=lambda value: json.dumps(value)[:60])
def test_no_field_is_lost_silently(path: str, value: Any) -> None:
    """For another dialect each field is a canonical value, or an extra whose loss has its path."""
    request, plain = decoded(body_with(path, value)), decoded()
    names = [name for name in request.__struct_fields__ if name not in ("form", "stream")]
    differs = [name for name in names if getattr(request, name) != getattr(plain, name)]
    losses: Losses = []
    lose_extras(request, "openai.chat", losses)
    fields = {loss.field for loss in in_callers_words(losses, request, OLLAMA.paths)}
    says_nothing = value in (None, "", {}, [], -1) or (value is False and path != "think")

    assert differs or says_nothing or path == "stream"
    if differs == ["extra"]:
        assert {path} == fields


def test_known_fields_mean_what_canonical_says() -> None:
    """The table of parameters, one by one."""
    request = decoded(
        options={"num_predict": 9, "temperature": 0.5, "top_p": 0.25, "top_k": 3, "seed": 4.0, "stop": ["END"]}
        | {"frequency_penalty": 1, "presence_penalty": -1},
        format=SCHEMA,
        think="low",
        logprobs=True,
        top_logprobs=2,
    )
    expected = {
        "max_output_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 3,
        "seed": 4,
        "stop": ("END",),
        "frequency_penalty": 1,
        "presence_penalty": -1,
        "logprobs": True,
        "top_logprobs": 2,
        "stream": True,
        "include_usage": True,
    }

    assert expected == {name: getattr(request, name) for name in expected}
    assert (
        ResponseFormat(kind="json_schema", schema=SCHEMA, form={"schema": "format"}, at="format")
        == request.response_format
    )
    assert request.reasoning and ("low", None) == (request.reasoning.effort, request.reasoning.budget)


@pytest.mark.parametrize(
    ("think", "expected"), [(True, (None, -1, True)), (False, ("none", None, None)), ("max", ("max", None, None))]
)
def test_thinking(think: Any, expected: tuple[Any, ...]) -> None:
    """True: as much as the model likes, and shown; false: not at all."""
    reasoning = decoded(think=think).reasoning

    assert reasoning is not None
    assert expected == (reasoning.effort, reasoning.budget, reasoning.show)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
    ],
)
def test_loading_a_model_is_no_question(fields: dict[str, Any], param: str) -> None:
    """Without messages there is nothing to translate; another target may be a server of this kind."""
    with pytest.raises(UnsupportedParameter) as refusal:
        decoded(**{"model": "m", **fields})

    assert (param, "elsewhere") == (refusal.value.param, refusal.value.retry)


# ── generate ───────────────────────────────────────────────────────────────────────────


def test_a_prompt_is_a_conversation() -> None:
    """System text and prompt as messages, images with the prompt, each with its place."""
    request = decoded({"model": "m", "prompt": "What is it?", "system": "Be brief.", "images": [PIXEL]}, "generate")
    system, user = request.messages

    assert ["system", "prompt", "images[0]"] == [part.at for part in (*system.parts, *user.parts)]
    body = json.loads(CHAT.encode_request(request, []).body)
    assert "Be brief." == body["messages"][0]["content"]
    assert f"data:image/png;base64,{PIXEL}" == body["messages"][1]["content"][1]["image_url"]["url"]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "Hi"},
        {"prompt": "Hi", "system": "", "template": "", "context": [], "raw": False, "images": [], "suffix": None},
        {"prompt": "Hi", "system": "S", "template": "{{ .Prompt }}", "images": [PIXEL], "think": True, "stream": False},
        {"images": [PIXEL], "options": {"num_ctx": 8192, "seed": 1}, "format": "json", "keep_alive": 0, "width": 5},
    ],
)
def test_a_prompt_comes_back_as_it_was(fields: dict[str, Any]) -> None:
    """Every field of a generate request, at its own path."""
    body = {"model": "m", **fields}
    request = decoded(body, "generate")

    assert (body, []) == written(request)
    assert "/api/generate" == OLLAMA.encode_request(request, []).path


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "raw": True}, "raw"),
        ({"prompt": "a", "context": [1]}, "context"),
        ({"prompt": ""}, "prompt"),
        ({}, "prompt"),
    ],
)
def test_what_is_another_question_elsewhere(fields: dict[str, Any], param: str) -> None:
    """A suffix, raw text, the tokens of an answer: refused by name where it would be translated."""
    with pytest.raises(UnsupportedParameter) as refusal:
        decoded({"model": "m", **fields}, "generate")

    assert param == refusal.value.param


def test_a_template_is_a_loss() -> None:
    """Another target has its own."""
    losses: Losses = []
    CHAT.encode_request(decoded({"model": "m", "prompt": "a", "template": "{{ .Prompt }}"}, "generate"), losses)

    assert [("template", "dropped")] == [(loss.field, loss.kind) for loss in losses]


# ── from another dialect ───────────────────────────────────────────────────────────────


def test_parameters_stand_in_options() -> None:
    """Each under its own name; whether to stream is always said, for the default is yes."""
    body, losses = sent(
        foreign(
            max_output_tokens=100,
            temperature=1.7,
            top_p=0.9,
            top_k=40.0,
            seed=7,
            stop=("A", "B", "C", "D", "E", "F"),
            frequency_penalty=-1.5,
            presence_penalty=0.5,
            logprobs=True,
            top_logprobs=3,
            n=1,
            parallel_tool_calls=True,
            store=False,
            modalities=("text",),
        )
    )

    assert [] == losses
    assert {
        "model": "m",
        "messages": HI,
        "stream": False,
        "logprobs": True,
        "top_logprobs": 3,
        "options": {"num_predict": 100, "temperature": 1.7, "top_p": 0.9, "top_k": 40, "seed": 7}
        | {"stop": list("ABCDEF"), "frequency_penalty": -1.5, "presence_penalty": 0.5},
    } == body


@pytest.mark.parametrize(
    ("fields", "loss"),
    [
        ({"top_k": 3.5}, "top_k=approximated"),
        ({"top_logprobs": 30}, "top_logprobs=approximated"),
        ({"logit_bias": {"1": 2}}, "logit_bias=dropped"),
        ({"service_tier": "flex"}, "service_tier=dropped"),
        ({"end_user": "u"}, "end_user=dropped"),
        ({"metadata": {"a": "b"}}, "metadata=dropped"),
        ({"store": True}, "store=dropped"),
        ({"verbosity": "low"}, "verbosity=dropped"),
        ({"prediction": {"type": "content"}}, "prediction=dropped"),
        ({"cache_key": "k"}, "cache_key=dropped"),
        ({"audio": AudioConfig(voice="alloy")}, "audio=dropped"),
        ({"modalities": ("text", "audio")}, "modalities=dropped"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls=dropped"),
        ({"safety": (SafetySetting(category="X", at="safetySettings[0]"),)}, "safetySettings[0]=dropped"),
        ({"extra": {"novel": 1}}, "novel=dropped"),
        ({"tool_choice": ToolChoice(mode="auto")}, "tool_choice=dropped"),
        ({"tool_choice": ToolChoice(mode="required")}, "tool_choice=dropped"),
        (
            {"response_format": ResponseFormat(kind="json_schema", schema=SCHEMA, description="d", at="rf")},
            "rf.description=dropped",
        ),
        ({"reasoning": ReasoningConfig(effort="max")}, "reasoning=approximated"),
        ({"reasoning": ReasoningConfig(budget=500)}, "reasoning=approximated"),
        ({"reasoning": ReasoningConfig(effort="low", show=False)}, "show_reasoning=dropped"),
    ],
)
def test_what_has_no_place_is_named(fields: dict[str, Any], loss: str) -> None:
    """One loss each, and a body that still fits."""
    assert [loss] == sent(foreign(**fields))[1]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"cached_content": "c"}, "cached_content"),
        ({"modalities": ("image",)}, "modalities"),
        ({"tools": (ServerTool(dialect="gemini", kind="googleSearch", raw={}, at="tools[0]"),)}, "tools[0]"),
        ({"tools": (Tool(name="f", kind="custom", at="tools[0].custom"),)}, "tools[0].custom"),
    ],
)
def test_what_would_be_another_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    """By its field, before anything is sent."""
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(foreign(**fields))

    assert param == refusal.value.param


@pytest.mark.parametrize(
    ("reasoning", "think"),
    [
        (ReasoningConfig(effort="none"), False),
        (ReasoningConfig(budget=0), False),
        (ReasoningConfig(effort="minimal"), "low"),
        (ReasoningConfig(effort="medium"), "medium"),
        (ReasoningConfig(effort="unheard-of"), True),
        (ReasoningConfig(budget=-1), True),
        (ReasoningConfig(budget=1024), "low"),
        (ReasoningConfig(budget=8192), "medium"),
        (ReasoningConfig(budget=9000), "high"),
        (ReasoningConfig(show=True), True),
        (ReasoningConfig(show=False), None),
    ],
)
def test_effort_and_budget_become_think(reasoning: ReasoningConfig, think: Any) -> None:
    """Three levels, on and off."""
    assert think == sent(foreign(reasoning=reasoning))[0].get("think")


@pytest.mark.parametrize(
    ("wanted", "written_as"),
    [
        (ResponseFormat(kind="text"), None),
        (ResponseFormat(kind="json_object"), "json"),
        (ResponseFormat(kind="json_schema", schema=SCHEMA, name="w", strict=True), SCHEMA),
        (ResponseFormat(kind="json_schema"), "json"),
    ],
)
def test_formats(wanted: ResponseFormat, written_as: Any) -> None:
    """A schema is the format itself."""
    body, losses = sent(foreign(response_format=wanted))

    assert (written_as, []) == (body.get("format"), losses)


def test_tools() -> None:
    """As OpenAI writes them; a function without parameters has an empty object of them."""
    cached = Tool(name="f", strict=True, response=SCHEMA, cache=CacheMark(), at="tools[1].function")
    body, losses = sent(foreign(tools=(WEATHER, cached)))

    function = {"name": "get_weather", "description": "Weather of a city", "parameters": SCHEMA}
    assert {"type": "function", "function": function} == body["tools"][0]
    assert {"name": "f", "parameters": {"type": "object", "properties": {}}} == body["tools"][1]["function"]
    at = "tools[1].function"
    assert [f"{at}.strict=dropped", f"{at}.response=dropped", f"{at}.cache_control=dropped"] == losses


@pytest.mark.parametrize(
    ("choice", "names", "expected"),
    [
        (ToolChoice(mode="none"), [], ["tool_choice=approximated"]),
        (ToolChoice(mode="required", names=("f",)), ["f"], ["tool_choice=approximated"]),
        (ToolChoice(mode="auto", names=("f",), validated=True), ["f"], ["tool_choice=approximated"]),
        (ToolChoice(mode="auto", names=("f",)), ["f"], []),
    ],
)
def test_a_choice_is_made_by_what_is_offered(choice: ToolChoice, names: list[str], expected: list[str]) -> None:
    """None: no tools; named ones: no others. The model is not made to call, nor held to schemas, which is named."""
    body, losses = sent(foreign(tools=(WEATHER, Tool(name="f")), tool_choice=choice))

    assert names == [tool["function"]["name"] for tool in body.get("tools", ())]
    assert expected == losses


def test_a_choice_does_not_hide_what_runs_at_a_provider() -> None:
    """A search may run although no function may be called: named as lost; beside named functions it is refused."""
    search = ServerTool(dialect="gemini", kind="googleSearch", raw={}, at="tools[0].googleSearch")
    losses = sent(foreign(tools=(search, Tool(name="f")), tool_choice=ToolChoice(mode="none")))[1]

    assert ["tools[0].googleSearch=dropped", "tool_choice=approximated"] == losses
    with pytest.raises(UnsupportedParameter):
        sent(foreign(tools=(search, Tool(name="f")), tool_choice=ToolChoice(mode="required", names=("f",))))


# ── what the row says ──────────────────────────────────────────────────────────────────


def test_fields_of_its_own_pass_from_any_caller() -> None:
    """`own`: a caller's unknown fields go on, and its options beside those that we write."""
    traits = Traits(own=frozenset({"keep_alive", "options"}))
    extra = {"keep_alive": "1h", "options": {"num_ctx": 8192, "seed": 1}, "other": 1}
    body, losses = sent(foreign(extra=extra, seed=7), traits)

    assert ("1h", {"num_ctx": 8192, "seed": 7}) == (body["keep_alive"], body["options"])
    assert ["other=dropped"] == losses


def test_ignored_and_rejected_fields() -> None:
    """By the name of the field, of the option, or its path; in the caller's words."""
    request = foreign(seed=7, temperature=0.5, logprobs=True)
    body, losses = sent(request, Traits(ignores=frozenset({"seed", "options.temperature", "logprobs"})))

    assert {"seed", "temperature", "logprobs"} & {*body, *body.get("options", {})} == set()
    assert ["logprobs=dropped", "temperature=dropped", "seed=dropped"] == losses
    with pytest.raises(UnsupportedParameter) as refusal:
        sent(foreign(response_format=ResponseFormat(kind="json_object")), Traits(rejects=frozenset({"format"})))
    assert "response_format" == refusal.value.param


def relayed(body: bytes, model: str = "m", traits: Traits = PLAIN, task: str = "chat") -> tuple[WireRequest, list[str]]:
    losses: Losses = []
    wire = OLLAMA.relay_request(ask(body, task), model, losses, traits)
    return wire, [f"{loss.field}={loss.kind}" for loss in losses]


BODY = b'{"model": "m", "messages":[{"role":"user","content":"Hi"}],\n "options":{"seed":1.0, "num_ctx":9}, "x":1e2}'


def test_the_relay_changes_nothing() -> None:
    """The caller's bytes, to the task's own path."""
    wire, losses = relayed(BODY)

    assert (BODY, "/api/chat", []) == (wire.body, wire.path, losses)
    assert "/api/embed" == relayed(b'{"model":"m","input":"x"}', task="embed")[0].path


def test_the_relay_changes_what_it_must() -> None:
    """The model, and what the row says; every other value as it was written."""
    wire, losses = relayed(BODY, "n", Traits(ignores=frozenset({"seed", "x"})))

    assert {"model": "n", "messages": HI, "options": {"num_ctx": 9}} == json.loads(wire.body)
    assert ["x=dropped", "options.seed=dropped"] == losses
    with pytest.raises(UnsupportedParameter) as refusal:
        relayed(BODY, traits=Traits(rejects=frozenset({"num_ctx"})))
    assert "options.num_ctx" == refusal.value.param


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.dictionaries(st.sampled_from(["novel", "truncate", "shift", "_debug"]), JSON, max_size=3),
    st.dictionaries(st.sampled_from(["num_thread", "mirostat", "novel"]), JSON, max_size=3),
    st.sampled_from([True, False, None]),
)
def test_whatever_else_stands_there_comes_back(extra: Any, options: Any, stream: Any) -> None:
    """Unknown fields and options of any shape, in a chat and in a generate request."""
    for task, asked in (("chat", {"messages": HI}), ("generate", {"prompt": "Hi"})):
        body = {"model": "m", **asked, "stream": stream, "options": options, **extra}

        assert (body, []) == written(decoded(body, task))
