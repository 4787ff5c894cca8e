"""`when` of targets as it is read from routes.yaml: what it says, and what is refused because it can never hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.conditions import HeaderIs, When, as_row, asked, may_meet, read, written
from router.table import fits_star
from tests.tables import loaded, problems, settings

KEYS = 'access: {keys: [{name: team-a, hash: "sha256:' + "0" * 64 + '"}]}\n'
ROWS = "providers: {one: {base_url: 'http://127.0.0.1:9', speaks: [openai.chat], auth: none}}\n"


def table(when: str, more: str = "") -> str:
    return f"{ROWS}{more}models:\n  m: [{{provider: one, when: {when}}}, {{provider: one}}]\n"


def test_a_row_becomes_values() -> None:
    """Text stands for a list of one, names of headers are in lower case, `media` is a list of kinds."""
    row = {
        "key": "team-*",
        "header": {"X-Tier": {"equals": "gold", "prefix": ["g", "s"]}},
        "model": ["gpt-*", "o3"],
        "tokens": {"above": 10, "below": 20},
        "tools": True,
        "media": True,
        "stream": False,
        "operation": "chat",
    }

    assert read(row) == When(
        key=("team-*",),
        header=(HeaderIs(name="x-tier", equals=("gold",), prefix=("g", "s")),),
        model=("gpt-*", "o3"),
        above=10,
        below=20,
        tools=True,
        media=("image", "audio", "video", "file"),
        stream=False,
        operation=("chat",),
    )
    assert asked([read(row)]) == ["key", "header", "model", "operation", "tokens", "tools", "media", "stream"]
    assert read(as_row(read(row))) == read(row)


def test_it_is_written_in_short() -> None:
    """For `isthmus check` and `isthmus routes`."""
    when = read({"tools": True, "tokens": {"above": 1000}, "media": False, "header": {"x-a": {"present": False}}})

    assert written([when]) == "no header x-a and tokens above 1000 and tools and no media"


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("{}", "when: expected at least one condition"),
        ("{tokens: {}}", "when: expected at least one condition"),
        ("{key: team-a}", "when.key: can never hold, for there are no `access.keys`"),
        ("{tokens: {above: 10, below: 10}}", "when.tokens: can never hold, nothing is above 10 and not above 10"),
        ("{header: {Authorization: {present: true}}}", "when.header: 'Authorization' holds a credential"),
        ("{header: {x-a: {}}}", "when.header: expected present, equals or prefix of 'x-a'"),
        ("{header: {x a: {present: true}}}", "when.header: 'x a' is not the name of a header"),
        ("{header: {x-a: {present: false, equals: b}}}", "when.header: can never hold, x-a must be there and must not"),
        ("{header: {x-a: {equals: b, prefix: c}}}", "no value of x-a that is asked for begins with c"),
        ("{operation: embeddings, tools: true}", "when.tools: can never hold, embeddings have none"),
        (
            "{operation: [count_tokens, embeddings], stream: true}",
            "when.stream: can never hold, only chats are streamed",
        ),
        ("{tols: true}", "unknown key 'tols', did you mean tools?"),
        ("{tools: maybe}", "expected true or false"),
        ("{media: [picture]}", "expected image, audio, video or file"),
        ("{operation: completion}", "expected chat, embeddings or count_tokens"),
        ("{tokens: {above: -1}}", "expected greater than or equal to 0"),
        ("{model: []}", "expected at least one"),
    ],
)
def test_what_can_never_hold_is_refused(tmp_path: Path, when: str, message: str) -> None:
    """With its place, like everything that is wrong with a file."""
    found = problems(tmp_path, table(when))

    assert 1 == len(found)
    assert message in found[0] and found[0].startswith("3:"), found


def test_a_key_that_nobody_has_is_refused(tmp_path: Path) -> None:
    """With the one that was probably meant; a pattern must fit one of them."""
    good = settings(tmp_path, table("{key: team-*}", KEYS))
    found = problems(tmp_path, table("{key: [team-b]}", KEYS))

    assert (When(key=("team-*",)),) == good.models[0].to[0].when
    assert found == ["4:35 when.key: no key is called 'team-b', did you mean team-a?"]


def test_conditions_of_an_alias_are_asked_besides_its_own(tmp_path: Path) -> None:
    """Both must hold; two that cannot hold at once are refused where the alias is named."""
    alias = "  n: [{model: m, when: $when}]\n"
    text = table("{tokens: {above: 100}}") + alias
    good = settings(tmp_path, text.replace("$when", "{stream: true}"))
    both = next(model for model in good.models if model.name == "n").to[0].when

    assert both == (When(stream=True), When(above=100))
    assert problems(tmp_path, text.replace("$when", "{tokens: {below: 50}}")) == [
        "4:18 when.tokens: can never hold together with that of m, nothing is above 100 and not above 50"
    ]


def test_what_nobody_reads_cannot_be_asked(tmp_path: Path) -> None:
    """On an opaque route only what stands outside of the body is known."""
    route = (
        "routes: [{path: /v1/files*, speaks: opaque, to: [{provider: one, when: {header: {x: {present: true}}}}]$more}]"
    )
    settings(tmp_path, ROWS + route.replace("$more", ""))
    bad = route.replace("header: {x: {present: true}}", "tools: true, model: a")
    found = problems(tmp_path, ROWS + bad.replace("$more", ", sticky: conversation"))

    assert [text.partition(" ")[2] for text in found] == [
        "when.tools: can never be known, for `speaks: opaque` reads no request",
        "when.model: can never be known, for `speaks: opaque` reads no request",
        "sticky: conversation is not for `speaks: opaque`, which reads no request",
    ]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("models: {m: {sticky: caller, to: [{provider: one}, {provider: one, model: b}]}}", "all callers are one"),
        ("models: {m: {sticky: conversation, to: [{provider: one}]}}", "sticky: has no effect, there is one target"),
        ("models: {m: {prefer: fidelity, to: [{provider: one}]}}", "prefer: has no effect, there is one target"),
        ("models: {fast: [{provider: one, when: {model: gpt-*}}]}", "one/* is never tried: its `when.model` does not"),
    ],
)
def test_what_has_no_effect_is_warned_of(tmp_path: Path, text: str, warning: str) -> None:
    """It is allowed, and probably not meant."""
    found = loaded(tmp_path, ROWS + text + "\n").warnings

    assert any(warning in each.message for each in found), found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("session", "expected caller, conversation, header:NAME or off"),
        ('"header:"', "expected caller, conversation, header:NAME or off"),
        ("header:Authorization", "authorization holds a credential, expected `caller`"),
    ],
)
def test_sticky_is_a_word_or_a_header(tmp_path: Path, value: str, message: str) -> None:
    """A caller's credential is none: it is known by its key."""
    found = problems(tmp_path, ROWS + f"models: {{m: {{sticky: {value}, to: [{{provider: one}}]}}}}\n")

    assert [f"models.m.sticky: {message}"] == [text.partition(" ")[2] for text in found]


def test_a_models_rules_come_before_the_routes(tmp_path: Path) -> None:
    """Each by itself: a model that says `sticky` still takes `prefer` from its route."""
    text = """
        models:
          own: {sticky: header:X-Session, to: [{provider: one, model: a}, {provider: one, model: b}]}
          none: {sticky: off, to: [{provider: one, model: a}, {provider: one, model: b}]}
          silent: [{provider: one, model: a}, {provider: one, model: b}]
        routes: [{path: /x, speaks: openai.chat, to: models, sticky: conversation, prefer: fidelity}]
    """
    found = settings(tmp_path, ROWS + "\n".join(line[8:] for line in text.splitlines()))
    route = found.table.routes[0]
    rules: dict[str, Any] = {name: found.table.targets(route, name).rules for name in ("own", "none", "silent")}

    assert {name: (each.sticky, each.prefer) for name, each in rules.items()} == {
        "own": ("header:x-session", "fidelity"),
        "none": ("off", "fidelity"),
        "silent": ("conversation", "fidelity"),
    }


PATTERNS = st.text("ab*", max_size=6)


@given(PATTERNS, PATTERNS, st.text("ab", max_size=6))
def test_patterns_that_have_a_name_in_common_may_meet(one: str, other: str, name: str) -> None:
    """It is never said that two cannot hold at once when a name shows that they can."""
    if fits_star(one, name) and fits_star(other, name):
        assert may_meet(one, other)


def test_patterns_that_begin_or_end_differently_do_not_meet() -> None:
    """That much can be told."""
    assert [False, False, False] == [may_meet("gpt-*", "o*"), may_meet("*-mini", "*-pro"), may_meet("fast", "gpt-*")]


def test_the_examples_of_the_page_are_good(tmp_path: Path) -> None:
    """Every block of docs/choosing.md, with the providers and keys that it names."""
    page = (Path(__file__).parents[2] / "docs" / "choosing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    rows = "".join(
        f"  {name}: {{base_url: 'http://127.0.0.1:9', speaks: [openai.chat], auth: none}}\n"
        for name in ("openai", "openai-eu", "gemini", "my-vllm")
    )
    for block in blocks:
        environ = {"OPENAI_API_KEY": "sk-some", "GEMINI_API_KEY": "some"}
        found = loaded(tmp_path, f"{KEYS.replace('team-a', 'batch-1')}providers:\n{rows}{block}", environ)

        assert ((), ()) == (found.problems, found.warnings)
    assert 3 == len(blocks)
