"""`chats:` of routes.yaml: what is wrong is said at its place, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.chats import rows
from router.chats.personas import PLANNING, SPOKEN, Persona, Research
from tests.tables import loaded, problems, settings, warnings

MODELS = "models: {small: [{provider: demo, model: isthmus-demo}]}\n"


def test_a_persona_is_what_its_row_says(tmp_path: Path) -> None:
    """Every key; what is not said has a default; the store's file is relative to the table's."""
    (tmp_path / "maya.md").write_text("You are Maya.\n")
    text = MODELS + (
        "chats:\n  personas:\n    maya: {model: small, system_file: maya.md, temperature: 1, tools: {a: native}}\n"
        "    b: {model: small, scopes: [external], research: {model: small, reasoning_effort: low}}\n"
    )
    found = settings(tmp_path, text).chats

    assert found is not None and (str(tmp_path / "isthmus.db"), "maya") == (found.path, found.default)
    assert (
        Persona(name="maya", model="small", system="You are Maya.", temperature=1, tools={"a": "native"})
        == (found.personas["maya"])
    )
    assert (frozenset({"external"}), Research(model="small", reasoning_effort="low"), PLANNING, SPOKEN) == (
        found.personas["b"].scopes,
        found.personas["b"].research,
        found.personas["b"].planning_text,
        found.personas["b"].voice_prompt,
    )
    assert found.persona("MAYA") is found.personas["maya"] is found.persona(None) and found.persona("x") is None


def test_t_5_3_everything_that_is_wrong_is_said_with_its_place(tmp_path: Path) -> None:
    """Unknown models and keys, missing files and names, what contradicts itself: `chats.personas.maya.model`."""
    (tmp_path / "empty.md").write_text(" ")
    text = MODELS + (
        "chats:\n"
        "  store: mysql:x\n"
        "  default: mya\n"
        "  personas:\n"
        "    maya: {model: smal, tool: {}}\n"
        "    Bob: {model: small, tools: {a: research}, temperature: 3, system_file: nope.md}\n"
        "    c: {system_file: empty.md, system: x}\n"
        "    d: {model: small, system_file: empty.md, research: {model: nope}}\n"
        "    e: {model: small, client_system: drop}\n"
    )

    assert [
        "3:10 chats.store: expected sqlite:FILE, relative to this file, found 'mysql:x'",
        "4:12 chats.default: there is no persona 'mya', did you mean maya?",
        "6:19 chats.personas.maya.model: there is no model 'smal', did you mean small?",
        "6:25 chats.personas.maya: unknown key 'tool', did you mean tools?",
        "7:5 chats.personas.Bob: expected a name of at most 64 of a-z, 0-9, _ and -",
        "7:36 chats.personas.Bob.tools.a: `research` needs the key `research`: which model",
        "7:60 chats.personas.Bob.temperature: expected less than or equal to 2, found 3",
        "7:76 chats.personas.Bob.system_file: nope.md cannot be read: No such file or directory",
        "8:8 chats.personas.c: 'model' is missing",
        "8:22 chats.personas.c.system_file: `system` is there, too: expected one of them",
        "9:36 chats.personas.d.system_file: empty.md: expected text in UTF-8, at most 1024 KiB",
        "9:64 chats.personas.d.research.model: there is no model 'nope'",
        "10:38 chats.personas.e.client_system: expected append or reject, found 'drop'",
    ] == problems(tmp_path, text)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("chats: {}", "2:1 chats: expected `personas` with at least one"),
        ("chats: {personas: {}}", "2:1 chats: expected `personas` with at least one"),
        ("chats: []", "2:8 chats: expected a mapping, found a list"),
        (
            "chats: {store: 'postgresql://x', personas: {a: {model: small}}}",
            "2:16 chats.store: postgresql is not available in this version, expected sqlite:FILE",
        ),
        (
            "chats: {store: 'sqlite:', personas: {a: {model: small}}}",
            "2:16 chats.store: expected sqlite:FILE, relative to this file, found 'sqlite:'",
        ),
    ],
)
def test_a_section_must_be_of_use(tmp_path: Path, section: str, problem: str) -> None:
    """A store, and somebody who answers."""
    assert problem in problems(tmp_path, MODELS + section + "\n")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, at `chats`; without `chats` nobody needs it."""
    monkeypatch.setattr(rows, "_EXTRA", ("sqlalchemy", "no_such_package_here"))
    section = "chats: {personas: {a: {model: small}}}\n"

    assert ["2:1 chats: no_such_package_here not installed, expected `pip install isthmus[db]`"] == problems(
        tmp_path, MODELS + section
    )
    assert loaded(tmp_path, MODELS).settings is not None


def test_a_model_without_a_target_is_a_warning(tmp_path: Path) -> None:
    """As it is for routes: the rest of the table serves."""
    text = "models: {a: [{model: b}], b: [{model: a}]}\nchats: {personas: {x: {model: a}}}\n"

    assert any("no target of the model 'a' can be called" in line for line in warnings(tmp_path, text))


def test_routes_of_the_service_are_its_own(tmp_path: Path) -> None:
    """A row at one of its paths is never reached, which is said."""
    text = MODELS + (
        "chats: {personas: {x: {model: small}}}\n"
        "routes: [{path: /api/v1/chat/generate, speaks: openai.chat, to: models}]\n"
    )

    assert ["3:17 unreachable: /api/v1/chat/generate belongs to the chat service (`chats`)"] == warnings(tmp_path, text)
