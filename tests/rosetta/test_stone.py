"""Every meaning in every language: the files are what the codecs write and read, and all ways between are tried."""

from __future__ import annotations

import json

import pytest

from providers.canonical.errors import RouterError
from providers.canonical.loss import Losses
from providers.canonical.stream import fold
from providers.dialect import WireResponse
from tests.corpus import schema
from tests.fidelity.answers import READ_STREAM, READ_WHOLE, in_order, told
from tests.fidelity.languages import LANGUAGES, fits, request_fits
from tests.fidelity.meaning import Comparing, same, stands
from tests.fidelity.through import CALLERS, NAMES, cuts, decoded, lost, passed_on, send, tell

from . import stone
from .stone import FOLDER, Json, has, load, lost_in, meanings

#: Answers that some languages say otherwise, and lose nothing: they are not read back as what was written.
OTHERWISE = {
    "blocked-prompt": "only Gemini has prompts that are blocked; elsewhere the answer is one that a filter ended",
    "citations": "Anthropic's sources of the web have no place in the text",
    "custom-tool": "where arguments are objects, free text stands under `input`",
    "empty-answer": "Chat has an empty text for it",
    "hidden-thinking": "state of other models travels in Responses' own form, and is taken out when it comes back",
    "refusal": "Anthropic and Gemini refuse in a text",
    "sealed-call": "as hidden thinking",
    "spoken-answer": "what was said stands beside the sound, where Google's callers read it",
    "thinking-and-tools": "as hidden thinking",
}
#: Files in which a name is spelled as their own servers take it: whoever writes it so means it so.
SPELLED = [("odd-tool-name", "anthropic.messages"), ("odd-tool-name", "gemini")]
EVERY = pytest.mark.parametrize("meaning", meanings())


@EVERY
def test_the_files_are_what_the_codecs_write(meaning: str) -> None:
    """encode(canonical) == file, for every language; no file is missing, none is left over."""
    wanted = dict(stone.files(meaning))
    paths = [path for path in (FOLDER / meaning).iterdir() if not stone.by_hand(path.name)]
    found = {path.name: path.read_bytes().decode() for path in paths}
    del found["canonical.json"]

    assert wanted == found, "scripts/check_docs.py --write makes them anew: then read what has changed"


@EVERY
def test_requests_are_understood(meaning: str) -> None:
    """decode(file) == canonical where nothing is lost; whatever is lost, decode -> encode gives the same body again."""
    wrong = []
    for name in CALLERS:
        if not has(meaning, f"{name}.request.json"):
            continue
        request = stone.read_request(meaning, name)
        if not lost_in(meaning, name).get("request"):
            wanted = _carried(stone.meant(stone.request_of(meaning, "")), name)
            if not _same(stone.meant(request), wanted):
                wrong.append(f"{name}: {stone.meant(request)} is not {wanted}")
        body = load(meaning, f"{name}.request.json")
        again = json.loads(NAMES[name].encode_request(request, []).body)
        if again != body:
            wrong.append(f"{name}: {body} becomes {again}")

    assert [] == wrong


def _carried(wanted: Json, name: str) -> Json:
    """Gemini has no strict tools, but a mode that holds all calls to their schemas (gemini.md: VALIDATED). Ollama and
    older models of Anthropic's show their thinking unasked (canonical.md, show the reasoning).
    """
    if name in ("ollama.chat", "anthropic.messages") and "show" in wanted.get("reasoning", {}):
        return {**wanted, "reasoning": {key: value for key, value in wanted["reasoning"].items() if key != "show"}}
    if name != "gemini" or not any(tool.get("strict") for tool in wanted.get("tools", ())):
        return wanted
    tools = [{key: value for key, value in tool.items() if key != "strict"} for tool in wanted["tools"]]
    return {**wanted, "tools": tools, "tool_choice": {"mode": "auto", "validated": True}}


def _same(one: Json, other: Json) -> bool:
    """The same request, with as much thinking: some count it, some have words for it."""
    asked, wanted = _asked(one), _asked(other)
    thinking = [request.pop("reasoning", {}) for request in (asked, wanted)]
    return asked == wanted and same("reasoning", thinking[1], thinking[0])


def _asked(request: Json) -> Json:
    """A request whose messages of one role are one, and whose texts and results stand in the order of their kinds."""
    out = {key: value for key, value in request.items() if key != "messages"}
    turns: list[Json] = []
    for message in request["messages"]:
        role = {"tool": "user"}.get(message["role"], message["role"])
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += message.get("parts", [])
        else:
            turns.append({"role": role, "parts": list(message.get("parts", []))})
    return {**out, "messages": turns}


@EVERY
def test_answers_are_understood(meaning: str) -> None:
    """decode(file) == canonical where nothing is lost, whole and streamed; own decode -> encode changes nothing."""
    wrong = []
    for name in CALLERS:
        if not has(meaning, f"{name}.answer.json"):
            continue
        lost, dialect = lost_in(meaning, name), NAMES[name]
        try:
            response = stone.read_answer(meaning, name)
            streamed = fold(decoded(dialect, [(FOLDER / meaning / f"{name}.stream.txt").read_bytes()]))
        except RouterError as error:
            wrong.append(f"{name}: {error!r}")
            continue
        wanted = _told(stone.meant(stone.answer_of(meaning)))
        exact = meaning not in OTHERWISE
        if exact and not lost.get("answer") and _told(stone.meant(response)) != wanted:
            wrong.append(f"{name}: {_told(stone.meant(response))} is not {wanted}")
        if exact and not lost.get("stream") and _told(stone.meant(streamed)) != wanted:
            wrong.append(f"{name}, streamed: {_told(stone.meant(streamed))} is not {wanted}")
        body = load(meaning, f"{name}.answer.json")
        again = json.loads(dialect.encode_response(response, stone.asked_by(name), []).body)
        if again != body:
            wrong.append(f"{name}: {body} becomes {again}")

    assert [] == wrong


def _told(answer: Json) -> Json:
    """What an answer says: parts, reasons and the counts that every language has."""
    usage = answer.get("usage") or {}
    choices = [
        {**{key: choice[key] for key in ("parts", "index") if key in choice}, "finish": _reason(choice)}
        for choice in answer.get("choices", ())
    ]
    return [choices, usage.get("input_tokens"), usage.get("output_tokens"), "blocked" in answer]


def _reason(choice: Json) -> str:
    reason = (choice.get("finish") or {}).get("reason", "")
    return "content_filter" if reason == "refusal" else reason


@EVERY
def test_independent_readers_agree(meaning: str) -> None:
    """Requests, answers and streams fit their schemas and clients, and say the same to readers that share no code."""
    wrong = []
    for name in NAMES:
        if has(meaning, f"{name}.request.json"):
            wrong += [f"{name}: {one}" for one in request_fits(load(meaning, f"{name}.request.json"), name)]
        if name in stone.BY_HAND or not has(meaning, f"{name}.answer.json"):
            continue
        body, stream = load(meaning, f"{name}.answer.json"), stone.told_streamed(meaning, name)
        wrong += [f"{name}: {one}" for one in fits(body, name, "whole") + in_order(stream, name)]
        whole = READ_WHOLE[name](body)
        wrong += [f"{name}, streamed: {one}" for one in told(whole, READ_STREAM[name](stream), name)]

    assert [] == wrong


@EVERY
def test_every_way_loses_only_what_is_declared(meaning: str) -> None:
    """From each language's file to each other language: what does not arrive is named, or refused by its name."""
    wrong = []
    for name in CALLERS:
        if not has(meaning, f"{name}.request.json"):
            continue
        body = load(meaning, f"{name}.request.json")
        for target in NAMES:
            if target != name and (meaning, name) not in SPELLED:
                wrong += [f"{name} -> {target}: {one}" for one in _lost_on_the_way(meaning, name, target, body)]

    assert [] == wrong


def _lost_on_the_way(meaning: str, name: str, target: str, body: Json) -> list[str]:
    params = {"model": "m", "task": "generateContent"} if name == "gemini" else {}
    sent = send(NAMES[name], NAMES[target], body, LANGUAGES[target].models[0], params)
    if sent.error is not None:
        declared = "refused" in lost_in(meaning, target)
        placed = bool(sent.error.param) and stands(body, sent.error.param or "")
        return [] if declared and placed else [f"refused: {sent.error.message} ({sent.error.param})"]
    found = Comparing(LANGUAGES[name].read_request(body), LANGUAGES[target].read_request(sent.body), sent.losses).run()
    exact = not lost_in(meaning, name).get("request") and not lost_in(meaning, target)
    unexpected = [f"{loss.field}: {loss.reason}" for loss in sent.losses if exact and loss.kind == "dropped"]
    return found + unexpected


@EVERY
def test_every_way_back_says_the_same(meaning: str) -> None:
    """An answer in one language told to callers of each other, whole and streamed: the readers hear what was said,
    or what they do not hear is declared.
    """
    wrong = []
    for name in NAMES:
        if not has(meaning, f"{name}.answer.json"):
            continue
        for target in CALLERS:
            if target != name:
                found = [*_whole_way_back(meaning, name, target), *_streamed_way_back(meaning, name, target)]
                wrong += [f"{name} -> {target}: {one}" for one in found]

    assert [] == wrong


def _whole_way_back(meaning: str, name: str, target: str) -> list[str]:
    losses: Losses = []
    data = stone.told_whole(meaning, name)
    body = json.loads(tell(NAMES[name], NAMES[target], WireResponse(status=200, headers={}, body=data), losses))
    return fits(body, target, "whole") + told(
        READ_WHOLE[name](json.loads(data)), READ_WHOLE[target](body), target, lost(losses)
    )


def _streamed_way_back(meaning: str, name: str, target: str) -> list[str]:
    data = stone.told_streamed(meaning, name)
    said, found = READ_STREAM[name](data), []
    for size in (len(data), 7):
        losses: Losses = []
        out, fault = passed_on(NAMES[target], NAMES[name], cuts(data, size), losses)
        found += [repr(fault)] if fault is not None else in_order(out, target)
        found += told(said, READ_STREAM[target](out), target, lost(losses))
    return [f"streamed: {one}" for one in found]


@EVERY
def test_errors_keep_their_class(meaning: str) -> None:
    """Each envelope fits its schema, has the status of the error and says why; its own dialect reads it as one."""
    wrong = []
    for name in CALLERS:
        if not has(meaning, f"{name}.error.json"):
            continue
        error, told_as = stone.error_of(meaning), load(meaning, f"{name}.error.json")
        entry = LANGUAGES[name].error
        if entry is not None:
            found = [one.message for one in schema(*entry).iter_errors(told_as["body"])]
            # Anthropic documents it (413); its client's types have no name for it.
            wrong += [f"{name}: {one}" for one in found if "request_too_large" not in one]
        if told_as["status"] != error.status or error.message not in json.dumps(told_as["body"], ensure_ascii=False):
            wrong.append(f"{name}: {told_as}")
        body = json.dumps(told_as["body"]).encode()
        read = NAMES[name].decode_error(WireResponse(status=told_as["status"], headers=told_as["headers"], body=body))
        if error.message not in read.message or read.retry_after != (
            None if error.retry_after is None else pytest.approx(error.retry_after, abs=1)
        ):
            wrong.append(f"{name}: read as {read!r} after {read.retry_after}")

    assert [] == wrong


def test_the_stone_is_large_enough() -> None:
    """At least forty meanings, each with a sentence on what it is about."""
    about = [stone.canonical(meaning)["about"] for meaning in meanings()]

    assert len(about) >= 40
    assert all(about)
    assert len(set(about)) == len(about)
