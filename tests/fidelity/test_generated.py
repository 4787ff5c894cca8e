"""Generated requests of both languages, feature upon feature, under the same rule as the recorded ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import schema

from .meaning import Comparing, stands
from .neutral import Json
from .test_requests import READ, SCHEMA
from .through import CHAT, GEMINI, NAMES, Sent, send

PNG = "iVBORw0KGgo="
words = st.sampled_from(["a", "look", "Größe", "two words", "x" * 40])
texts = st.sampled_from(["Hello", "é😀\u2028", "line\nline", " ", '{"a":1}', "[1]"])
marks = st.sampled_from(
    [{}, {}, {}, {"cache_control": {"type": "ephemeral"}}, {"prompt_cache_breakpoint": {"mode": "explicit"}}]
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of the fields, or none."""
    return st.fixed_dictionaries({}, optional=fields)


# ── schemas ────────────────────────────────────────────────────────────────────────────

leaf = st.one_of(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": ["string", "null"]},
            {"type": "string", "enum": ["a", "b"]},
            {"const": "x"},
            {"enum": [1, 2]},
            {"enum": [True]},
            {"enum": ["a", None]},
            {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
            {"type": "number", "multipleOf": 0.5},
            {"type": "string", "format": "date-time", "minLength": 2},
            {"type": "string", "pattern": "^a+$"},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"type": ["string", "integer"]},
            {"$ref": "#/$defs/Thing"},
            {"allOf": [{"$ref": "#/$defs/Thing"}], "description": "A thing."},
            {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            {"not": {"type": "string"}},
            {"type": "string", "default": "a"},
            {},
            True,
        ]
    )
)
THING = {"type": "object", "properties": {"again": {"$ref": "#/$defs/Thing"}, "n": {"type": "integer"}}}


def object_of(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    properties = st.dictionaries(st.sampled_from(["b", "a", "c"]), inner, min_size=1, max_size=3)
    more = some(additionalProperties=st.sampled_from([False, True, {"type": "string"}]), description=texts, title=words)
    return st.builds(lambda p, m: {"type": "object", "properties": p, "required": list(p)[:1], **m}, properties, more)


schemas = object_of(st.recursive(leaf, object_of, max_leaves=4)).map(lambda one: {**one, "$defs": {"Thing": THING}})

# ── chat ───────────────────────────────────────────────────────────────────────────────

media: st.SearchStrategy[Json] = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://files.example/a.png"}},
        {"type": "image_url", "image_url": {"url": "https://files.example/a", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "http://files.example/a.gif"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
)
text_part = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, texts, marks)
chat_tool = st.builds(
    lambda name, more, strict, mark: {"type": "function", "function": {"name": name, **more, **strict}, **mark},
    st.sampled_from(["look", "see", "a b", "9x"]),
    some(description=texts, parameters=schemas),
    some(strict=st.booleans()),
    marks,
)


@st.composite
def chat_requests(draw: st.DrawFn) -> Json:
    messages: list[Json] = []
    for number in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from(["user", "user", "system", "developer", "assistant", "called"]))
        name = draw(some(name=st.just("ann")))
        if role == "user":
            content = draw(texts | st.lists(text_part | media, min_size=1, max_size=3))
            messages.append({"role": role, "content": content, **name})
        elif role in ("system", "developer"):
            messages.append(
                {"role": role, "content": draw(texts | st.lists(text_part, min_size=1, max_size=2)), **name}
            )
        elif role == "assistant":
            more = draw(some(refusal=texts, reasoning_content=texts, annotations=st.just([{"type": "url_citation"}])))
            messages.append(
                {"role": role, "content": draw(texts | st.lists(text_part, min_size=1, max_size=2)), **more}
            )
        else:
            names = draw(st.lists(st.sampled_from(["look", "see", "a b"]), min_size=1, max_size=2))
            calls = [
                {"id": f"call_{number}_{i}", "type": "function", "function": {"name": one, "arguments": f'{{"n":{i}}}'}}
                for i, one in enumerate(names)
            ]
            messages.append({"role": "assistant", "content": draw(st.none() | texts), "tool_calls": calls})
            results = [{"role": "tool", "tool_call_id": one["id"], "content": draw(texts)} for one in calls]
            messages += draw(st.permutations(results))
    messages.append({"role": "user", "content": "Now?"})
    body: Json = {"model": "m", "messages": messages}
    tools = draw(st.lists(chat_tool, max_size=2, unique_by=lambda tool: tool["function"]["name"]))
    if tools:
        first = tools[0]["function"]["name"]
        named = {"type": "function", "function": {"name": first}}
        allowed = {
            "type": "allowed_tools",
            "allowed_tools": {"mode": draw(st.sampled_from(["auto", "required"])), "tools": [named]},
        }
        body |= {"tools": tools} | draw(
            some(
                tool_choice=st.sampled_from(["auto", "none", "required", named, allowed]),
                parallel_tool_calls=st.booleans(),
            )
        )
    return body | draw(chat_parameters)


chat_parameters = some(
    temperature=st.sampled_from([0, 0.7, 1, 2]),
    top_p=st.sampled_from([0.1, 1]),
    n=st.sampled_from([1, 2, 9]),
    stop=st.sampled_from(["END", ["a", "b"], list("abcd")]),
    max_tokens=st.just(5),
    max_completion_tokens=st.just(7),
    presence_penalty=st.sampled_from([0, 0.5]),
    seed=st.sampled_from([1, 2**40, -5]),
    logprobs=st.booleans(),
    logit_bias=st.just({"50256": -100}),
    reasoning_effort=st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
    response_format=st.one_of(
        st.just({"type": "text"}),
        st.just({"type": "json_object"}),
        st.builds(
            lambda wanted, more: {"type": "json_schema", "json_schema": {"name": "x", "schema": wanted, **more}},
            schemas,
            some(strict=st.booleans(), description=texts),
        ),
    ),
    service_tier=st.sampled_from(["auto", "default", "flex", "scale"]),
    metadata=st.sampled_from([{"a": "b"}, {"A B": "C"}]),
    user=words,
    safety_identifier=words,
    store=st.booleans(),
    verbosity=st.just("low"),
    prompt_cache_key=words,
    modalities=st.sampled_from([["text"], ["text", "audio"]]),
    web_search_options=st.just({"search_context_size": "low"}),
    unknown_field=st.just({"a": 1}),
)


# ── Gemini ─────────────────────────────────────────────────────────────────────────────

signature = some(thoughtSignature=st.just("c2lnbmVk"))
gemini_media: st.SearchStrategy[Json] = st.sampled_from(
    [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"inline_data": {"mime_type": "audio/mp3", "data": "UklGRg=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0=", "displayName": "a.pdf"}},
        {"inlineData": {"mimeType": "video/mp4", "data": "UklGRg=="}, "videoMetadata": {"fps": 1}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://files.example/a.png"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://files.example/a.pdf"}},
        {"inlineData": {"mimeType": "image/png", "data": PNG}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
        {"inlineData": {"mimeType": "image/png", "data": PNG}, "mediaResolution": {"level": "MEDIA_RESOLUTION_MEDIUM"}},
    ]
)
responses = st.sampled_from(
    [{"output": "seen"}, {"result": "seen"}, {"error": "no"}, {"a": {"b": 1}}, {}, {"output": 5}]
)
upper = st.sampled_from(
    [
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING", "nullable": True}, "b": {"type": "INTEGER", "format": "int32"}},
            "propertyOrdering": ["b", "a"],
        },
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING", "enum": ["x", "y"], "format": "enum"}},
            "required": ["a"],
        },
        {"type": "OBJECT", "properties": {"l": {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2"}}},
        {"type": "OBJECT", "properties": {"u": {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}}},
    ]
)


@st.composite
def gemini_requests(draw: st.DrawFn) -> Json:
    contents: list[Json] = []
    for number in range(draw(st.integers(1, 3))):
        user = draw(st.lists(texts.map(lambda text: {"text": text}) | gemini_media, min_size=1, max_size=3))
        contents.append({"role": "user", "parts": user} if draw(st.booleans()) else {"parts": user})
        thought = draw(st.lists(st.just({"text": "Thinking.", "thought": True}), max_size=1))
        said = [{"text": draw(texts), **draw(signature)} for _ in range(draw(st.integers(0, 2)))]
        names = draw(st.lists(st.sampled_from(["look", "see"]), max_size=2))
        ids = draw(st.booleans())
        calls = [
            {
                "functionCall": {"name": name, "args": {"n": i}, **({"id": f"id{number}{i}"} if ids else {})},
                **draw(signature),
            }
            for i, name in enumerate(names)
        ]
        code = draw(st.lists(st.just({"executableCode": {"language": "PYTHON", "code": "1"}}), max_size=1))
        parts = [*thought, *said, *calls, *code]
        if parts:
            contents.append({"role": "model", "parts": parts})
        results = [
            {
                "functionResponse": {
                    "name": name,
                    "response": draw(responses),
                    **({"id": f"id{number}{i}"} if ids else {}),
                }
            }
            for i, name in enumerate(names)
        ]
        if results:
            contents.append({"role": draw(st.sampled_from(["user", "function"])), "parts": results})
    contents.append({"role": "user", "parts": [{"text": "Now?"}]})
    body: Json = {"contents": contents}
    declarations = draw(
        st.lists(
            st.builds(
                lambda name, more: {"name": name, **more},
                st.sampled_from(["look", "see"]),
                st.one_of(
                    some(description=texts),
                    some(parameters=upper),
                    some(parametersJsonSchema=schemas),
                    some(behavior=st.just("BLOCKING")),
                ),
            ),
            max_size=2,
            unique_by=lambda one: one["name"],
        )
    )
    if declarations:
        body["tools"] = [
            {"functionDeclarations": declarations},
            *draw(st.lists(st.just({"googleSearch": {}}), max_size=1)),
        ]
        mode = st.sampled_from(["AUTO", "ANY", "NONE", "VALIDATED"])
        body |= draw(some(toolConfig=mode.map(lambda word: {"functionCallingConfig": {"mode": word}})))
    return body | draw(gemini_fields)


gemini_fields = some(
    systemInstruction=st.sampled_from(
        [{"parts": [{"text": "Be brief."}]}, {"role": "system", "parts": [{"text": "A"}, {"text": "B"}]}]
    ),
    safetySettings=st.just([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]),
    cachedContent=st.just("cachedContents/1"),
    serviceTier=st.sampled_from(["standard", "flex", "priority"]),
    labels=st.just({"team": "a"}),
    store=st.booleans(),
    generationConfig=some(
        temperature=st.sampled_from([0, 1, 1.5]),
        topP=st.just(0.5),
        topK=st.just(40),
        maxOutputTokens=st.just(9),
        candidateCount=st.sampled_from([1, 3]),
        stopSequences=st.sampled_from([["a"], list("abcde")]),
        seed=st.just(7),
        responseLogprobs=st.booleans(),
        responseMimeType=st.sampled_from(["text/plain", "application/json"]),
        responseModalities=st.sampled_from([["TEXT"], ["TEXT", "IMAGE"]]),
        thinkingConfig=some(includeThoughts=st.booleans(), thinkingBudget=st.sampled_from([-1, 0, 500, 5000, 20000])),
        speechConfig=st.just({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}),
        mediaResolution=st.just("MEDIA_RESOLUTION_LOW"),
    ),
)


# ── the rule ───────────────────────────────────────────────────────────────────────────


def wrong_with(body: Json, caller: Any, upstream: Any, sent: Sent) -> list[str]:
    error = sent.error
    if error is not None:
        well = error.status in (400, 422) and error.param is not None and stands(body, error.param)
        return [] if well else [f"refused with {error.status} for {error.param}: {error.message}"]
    found = [f"{one.json_path} {one.message[:100]}" for one in schema(*SCHEMA[upstream.name]).iter_errors(sent.body)]
    found += Comparing(READ[caller.name](body), READ[upstream.name](sent.body), sent.losses).run()
    lies = [loss.field for loss in sent.losses if loss.kind != "invented" and not stands(body, loss.field)]
    return found + [f"the loss {field} names nothing in the body" for field in lies]


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-pro-preview", "gemini-1.5-pro"])
@given(body=chat_requests())
@settings(max_examples=150)
def test_chat_requests_reach_gemini(model: str, body: Json) -> None:
    """Whatever a chat caller says is carried, named, or refused by its name."""

    assert [] == wrong_with(body, CHAT, GEMINI, send(CHAT, GEMINI, body, model))


@given(body=gemini_requests())
@settings(max_examples=200)
def test_gemini_requests_reach_chat(body: Json) -> None:
    """Whatever a Gemini caller says is carried, named, or refused by its name."""

    assert [] == wrong_with(body, GEMINI, CHAT, send(GEMINI, CHAT, body, "gpt-4.1"))


#: The other that such requests are sent to.
OTHERS = [("openai.responses", "gpt-5")]


def _unprompted(complaints: list[str]) -> list[str]:
    """Without those about the word JSON, which Responses insists on in JSON mode: it is named as invented."""
    return [one for one in complaints if "Answer in JSON." not in one]


@pytest.mark.parametrize(("upstream", "model"), OTHERS)
@given(body=chat_requests())
@settings(max_examples=25)
def test_chat_requests_reach_the_others(upstream: str, model: str, body: Json) -> None:
    """The same for Responses."""
    there = NAMES[upstream]

    assert [] == _unprompted(wrong_with(body, CHAT, there, send(CHAT, there, body, model)))


@pytest.mark.parametrize(("upstream", "model"), OTHERS)
@given(body=gemini_requests())
@settings(max_examples=25)
def test_gemini_requests_reach_the_others(upstream: str, model: str, body: Json) -> None:
    """The same for Responses."""
    there = NAMES[upstream]

    assert [] == _unprompted(wrong_with(body, GEMINI, there, send(GEMINI, there, body, model)))
