"""`chats:` of routes.yaml, from its good parts to `ChatSettings`. What is wrong is said with its place."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from router.chats.personas import PLANNING, SPOKEN, ChatSettings, Persona, Research
from router.complaints import Complaints, Partial, Place, Row, near
from router.table import Table

STORE = "sqlite:isthmus.db"
MOST_PROMPT_BYTES = 1 << 20

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_EXTRA = ("sqlalchemy", "alembic", "aiosqlite")


def missing_packages() -> list[str]:
    """What of the extra `db` is not installed."""
    return [name for name in _EXTRA if find_spec(name) is None]


class ChatRows:
    """The section of one file. `folder` is where the file is, `table` knows the models."""

    def __init__(self, section: Row, table: Table, folder: Path, complaints: Complaints) -> None:
        self._section = section
        self._table = table
        self._folder = folder
        self._say = complaints

    def settings(self) -> ChatSettings | None:
        """What the section says. None, with problems, when that is nothing to serve."""
        if missing := missing_packages():
            message = f"chats: {', '.join(missing)} not installed, expected `pip install isthmus[db]`"
            self._say.problem(("chats",), message, key=True)
        path = self._store()
        rows: dict[str, Row] = self._section.get("personas", {})
        personas = {name: self._persona(name, row) for name, row in rows.items()}
        if not personas and not isinstance(self._section, Partial):
            self._say.problem(("chats",), "chats: expected `personas` with at least one", key=True)
        default = self._default(list(rows))
        found = {name: persona for name, persona in personas.items() if persona is not None}
        if path is None or default not in found:
            return None
        return ChatSettings(store=self._section.get("store", STORE), path=path, default=default, personas=found)

    def _store(self) -> str | None:
        text = self._section.get("store", STORE)
        kind, colon, rest = text.partition(":")
        if kind == "sqlite" and colon and rest.strip("/") and "\0" not in rest and "?" not in rest:
            return str(self._folder / rest)
        place: Place = ("chats", "store")
        if kind in ("postgresql", "postgres"):
            self._say.problem(place, "chats.store: postgresql is not available in this version, expected sqlite:FILE")
        else:
            self._say.problem(place, f"chats.store: expected sqlite:FILE, relative to this file, found '{text}'")
        return None

    def _default(self, names: list[str]) -> str:
        name = self._section.get("default")
        if name is None:
            return names[0] if names else ""
        if name.lower() not in names and names:
            self._say.problem(("chats", "default"), f"chats.default: there is no persona '{name}'{near(name, names)}")
        return str(name).lower()

    # ── one persona ───────────────────────────────────────────────────────────────────────

    def _persona(self, name: str, row: Row) -> Persona | None:
        place: Place = ("chats", "personas", name)
        before = len(self._say.problems)
        if not _NAME.fullmatch(name):
            message = f"chats.personas.{name}: expected a name of at most 64 of a-z, 0-9, _ and -"
            self._say.problem(place, message, key=True)
        self._check_model((*place, "model"), row.get("model"))
        research = self._research((*place, "research"), row.get("research"))
        self._check_switches((*place, "tools"), row.get("tools", {}), research)
        system = self._system(place, row)
        if len(self._say.problems) > before or isinstance(row, Partial) or "model" not in row:
            return None
        as_they_are = ("description", "temperature", "max_tokens", "client_system", "response_schema", "stream_deltas")
        return Persona(
            name=name,
            model=row["model"],
            system=system,
            scopes=frozenset(row.get("scopes", ("internal", "external"))),
            tools=row.get("tools", {}),
            research=research,
            planning_text=row.get("planning_text", PLANNING),
            voice_prompt=row.get("voice_prompt", SPOKEN),
            **{key: row[key] for key in as_they_are if key in row},
        )

    def _check_model(self, place: Place, name: str | None) -> None:
        if name is None or self._table.model(name) is not None:
            return
        where = ".".join(map(str, place))
        known = self._say.names("models")
        if name in known:
            self._say.warn(place, f"{where}: no target of the model '{name}' can be called")
        else:
            self._say.problem(place, f"{where}: there is no model '{name}'{near(name, known)}")

    def _research(self, place: Place, row: Row | None) -> Research | None:
        if row is None or "model" not in row:
            return None
        self._check_model((*place, "model"), row["model"])
        return Research(model=row["model"], reasoning_effort=row.get("reasoning_effort"))

    def _check_switches(self, place: Place, tools: Row, research: Research | None) -> None:
        for name, does in tools.items():
            if does == "research" and research is None:
                where = ".".join(map(str, place))
                self._say.problem((*place, name), f"{where}.{name}: `research` needs the key `research`: which model")

    def _system(self, place: Place, row: Row) -> str:
        name = row.get("system_file")
        if name is None:
            return str(row.get("system", ""))
        where = f"{'.'.join(map(str, place))}.system_file"
        if row.get("system") is not None:
            self._say.problem((*place, "system_file"), f"{where}: `system` is there, too: expected one of them")
            return ""
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(MOST_PROMPT_BYTES + 1)
        except OSError as error:
            self._say.problem((*place, "system_file"), f"{where}: {name} cannot be read: {error.strerror or 'error'}")
            return ""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        if not text.strip() or len(data) > MOST_PROMPT_BYTES:
            message = f"{where}: {name}: expected text in UTF-8, at most {MOST_PROMPT_BYTES >> 10} KiB"
            self._say.problem((*place, "system_file"), message)
        return str(text.strip())
