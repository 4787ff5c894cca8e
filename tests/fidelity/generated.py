"""Requests of each language that callers speak, made up feature upon feature: strategies for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .neutral import Json

PNG = "iVBORw0KGgo="
words = st.sampled_from(["a", "look", "Größe", "two words", "x" * 40])
texts = st.sampled_from(["Hello", "é😀\u2028", "line\nline", " ", '{"a":1}', "[1]"])
solid = texts.filter(lambda text: bool(text.strip()))  # some servers take no blank text
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
            more = draw(some(refusal=solid, reasoning_content=texts, annotations=st.just([{"type": "url_citation"}])))
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


# ── Anthropic ──────────────────────────────────────────────────────────────────────────

cached = some(cache_control=st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}]))
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
blocks: st.SearchStrategy[Json] = st.sampled_from(
    [
        PICTURE,
        {"type": "image", "source": {"type": "url", "url": "https://files.example/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A text."}, "title": "T"},
        {"type": "document", "source": {"type": "url", "url": "https://files.example/a.pdf"}},
    ]
)
anthropic_text = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, solid, cached)
thoughts = st.sampled_from(
    [
        {"type": "thinking", "thinking": "Thinking.", "signature": "c2ln"},
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VhbGVk"},
    ]
)


@st.composite
def anthropic_requests(draw: st.DrawFn) -> Json:
    messages: list[Json] = []
    for number in range(draw(st.integers(1, 3))):
        said = draw(solid | st.lists(anthropic_text | blocks, min_size=1, max_size=3))
        messages.append({"role": "user", "content": said})
        names = draw(st.lists(st.sampled_from(["look", "see"]), max_size=2))
        calls = [
            {"type": "tool_use", "id": f"toolu_{number}_{i}", "name": name, "input": {"n": i}, **draw(cached)}
            for i, name in enumerate(names)
        ]
        thought = draw(st.lists(thoughts, max_size=1))
        texts_ = draw(st.lists(anthropic_text, min_size=0 if calls else 1, max_size=2))
        messages.append({"role": "assistant", "content": [*thought, *texts_, *calls]})
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], **draw(anthropic_result), **draw(cached)}
            for call in calls
        ]
        if results:
            messages.append({"role": "user", "content": [*results, *draw(st.lists(anthropic_text, max_size=1))]})
            messages.append({"role": "assistant", "content": "So."})
    messages.append({"role": "user", "content": "Now?"})
    body: Json = {"model": "m", "max_tokens": 20000, "messages": messages}
    tools = draw(st.lists(anthropic_tool, max_size=2, unique_by=lambda tool: tool["name"]))
    if tools:
        one = {"disable_parallel_tool_use": True} if draw(st.booleans()) else {}
        words_ = [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": tools[0]["name"]}]
        choice = draw(st.sampled_from([*({**word, **one} for word in words_), {"type": "none"}]))
        body |= {"tools": tools} | draw(some(tool_choice=st.just(choice)))
    return body | draw(anthropic_fields)


anthropic_result = some(
    content=st.one_of(
        texts,
        st.just([{"type": "text", "text": "seen"}, PICTURE]),
        st.just([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]),
    ),
    is_error=st.booleans(),
)
anthropic_tool = st.builds(
    lambda name, wanted, more, mark: {"name": name, "input_schema": wanted, **more, **mark},
    st.sampled_from(["look", "see"]),
    schemas,
    some(description=texts, strict=st.booleans()),
    cached,
)
anthropic_fields = some(
    system=solid | st.lists(anthropic_text, min_size=1, max_size=2),
    temperature=st.sampled_from([0, 0.7, 1]),
    top_p=st.sampled_from([0.1, 1]),
    top_k=st.just(40),
    stop_sequences=st.sampled_from([["END"], list("abcdef")]),
    metadata=st.just({"user_id": "u-1"}),
    service_tier=st.sampled_from(["auto", "standard_only"]),
    thinking=st.sampled_from(
        [
            {"type": "disabled"},
            {"type": "enabled", "budget_tokens": 1024},
            {"type": "enabled", "budget_tokens": 16384},
            {"type": "adaptive"},
        ]
    ),
    output_config=some(
        effort=st.sampled_from(["low", "medium", "high", "max"]),
        format=st.builds(lambda wanted: {"type": "json_schema", "schema": wanted}, schemas),
    ),
    container=st.just("container_1"),
    unknown_field=st.just({"a": 1}),
)


# ── Responses ──────────────────────────────────────────────────────────────────────────

inputs: st.SearchStrategy[Json] = st.sampled_from(
    [
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
        {"type": "input_image", "image_url": "https://files.example/a.png", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        {"type": "input_file", "file_id": "file-1"},
    ]
)
input_text = texts.map(lambda text: {"type": "input_text", "text": text})
reasoned = st.sampled_from(
    [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Thinking."}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VhbGVk"},
    ]
)


@st.composite
def responses_requests(draw: st.DrawFn) -> Json:
    items: list[Json] = []
    for number in range(draw(st.integers(1, 3))):
        role = draw(st.sampled_from(["user", "user", "system", "developer"]))
        media_ = inputs if role == "user" else st.nothing()
        said = draw(texts | st.lists(input_text | media_, min_size=1, max_size=3))
        items.append({"role": role, "content": said} | draw(some(type=st.just("message"))))
        items += draw(st.lists(reasoned, max_size=1))
        if draw(st.booleans()):
            text = {"type": "output_text", "text": draw(texts), "annotations": []}
            refusal = {"type": "refusal", "refusal": "No."}
            items.append(
                {
                    "type": "message",
                    "role": "assistant",
                    "id": f"msg_{number}",
                    "status": "completed",
                    "content": [draw(st.sampled_from([text, text, refusal]))],
                }
            )
        names = draw(st.lists(st.sampled_from(["look", "see"]), max_size=2))
        ids = [f"call_{number}_{i}" for i in range(len(names))]
        items += [
            {"type": "function_call", "call_id": id_, "name": name, "arguments": '{"n":1}'}
            for id_, name in zip(ids, names)
        ]
        results = [
            {"type": "function_call_output", "call_id": id_, "output": draw(texts | st.lists(input_text, min_size=1))}
            for id_ in ids
        ]
        items += draw(st.permutations(results))
    items.append({"role": "user", "content": "Now?"})
    body: Json = {"model": "m", "input": items}
    tools = draw(st.lists(responses_tool, max_size=2, unique_by=lambda tool: tool["name"]))
    if tools:
        named = {"type": "function", "name": tools[0]["name"]}
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [named]}
        body |= {"tools": tools} | draw(
            some(
                tool_choice=st.sampled_from(["auto", "none", "required", named, allowed]),
                parallel_tool_calls=st.booleans(),
            )
        )
    return body | draw(responses_fields)


responses_tool = st.builds(
    lambda name, wanted, strict, more: {
        "type": "function",
        "name": name,
        "parameters": wanted,
        "strict": strict,
        **more,
    },
    st.sampled_from(["look", "see"]),
    schemas,
    st.booleans(),
    some(description=texts),
)
responses_fields = some(
    instructions=texts,
    temperature=st.sampled_from([0, 0.7, 1, 2]),
    top_p=st.sampled_from([0.1, 1]),
    max_output_tokens=st.just(50),
    max_tool_calls=st.just(3),
    reasoning=some(
        effort=st.sampled_from(["none", "minimal", "low", "medium", "high"]), summary=st.sampled_from(["auto"])
    ),
    text=some(
        verbosity=st.sampled_from(["low", "medium"]),
        format=st.one_of(
            st.just({"type": "text"}),
            st.just({"type": "json_object"}),
            st.builds(
                lambda wanted, more: {"type": "json_schema", "name": "x", "schema": wanted, **more},
                schemas,
                some(strict=st.booleans(), description=texts),
            ),
        ),
    ),
    top_logprobs=st.sampled_from([0, 3]),
    include=st.just(["reasoning.encrypted_content"]),
    service_tier=st.sampled_from(["auto", "default", "flex"]),
    metadata=st.just({"a": "b"}),
    user=words,
    safety_identifier=words,
    store=st.booleans(),
    prompt_cache_key=words,
    truncation=st.sampled_from(["auto", "disabled"]),
    unknown_field=st.just({"a": 1}),
)


# ── Ollama ─────────────────────────────────────────────────────────────────────────────


@st.composite
def ollama_requests(draw: st.DrawFn) -> Json:
    messages: list[Json] = []
    for _ in range(draw(st.integers(1, 3))):
        role = draw(st.sampled_from(["user", "user", "system"]))
        seen = draw(some(images=st.just([PNG]))) if role == "user" else {}
        messages.append({"role": role, "content": draw(texts), **seen})
        names = draw(st.lists(st.sampled_from(["look", "see"]), max_size=2))
        calls = [{"function": {"name": name, "arguments": {"n": i}}} for i, name in enumerate(names)]
        messages.append(
            {"role": "assistant", "content": draw(texts), **({"tool_calls": calls} if calls else {})}
            | draw(some(thinking=st.just("Thinking.")))
        )
        messages += [{"role": "tool", "tool_name": name, "content": draw(texts)} for name in names]
    messages.append({"role": "user", "content": "Now?"})
    body: Json = {"model": "m", "messages": messages}
    tools = draw(st.lists(chat_tool, max_size=2, unique_by=lambda tool: tool["function"]["name"]))
    if tools:
        body["tools"] = [{"type": "function", "function": {**one["function"]}} for one in tools]
    return body | draw(ollama_fields)


ollama_fields = some(
    format=st.just("json") | schemas,
    think=st.sampled_from([True, False, "low", "high"]),
    keep_alive=st.just("5m"),
    stream=st.booleans(),
    logprobs=st.booleans(),
    options=some(
        temperature=st.sampled_from([0, 0.7, 1, 1.5]),
        top_p=st.just(0.5),
        top_k=st.just(40),
        num_predict=st.sampled_from([7, -1]),
        num_ctx=st.just(8192),
        seed=st.just(7),
        stop=st.sampled_from([["END"], list("abcdef")]),
        presence_penalty=st.just(0.5),
        frequency_penalty=st.just(0.5),
        repeat_penalty=st.just(1.1),
        min_p=st.just(0.05),
    ),
    unknown_field=st.just({"a": 1}),
)


#: What callers of each language may say.
REQUESTS: dict[str, st.SearchStrategy[Json]] = {
    "openai.chat": chat_requests(),
    "openai.responses": responses_requests(),
    "anthropic.messages": anthropic_requests(),
    "gemini": gemini_requests(),
    "ollama.chat": ollama_requests(),
}
