"""Brings a store to the newest schema, inside one transaction: killed half-way it is what it was before."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, select, table
from sqlalchemy.sql import column

from router.chats.store import NewerStore
from router.chats.tables import HEAD

_VERSION = table("alembic_version", column("version_num"))


def version(connection: Connection) -> str | None:
    """What the store says of itself; None for one without tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(select(_VERSION.c.version_num)).scalar()
    return None if found is None else str(found)


def migrate(connection: Connection) -> None:
    """NewerStore for one that a newer program has written: nothing is changed in it then."""
    found = version(connection)
    if found == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise NewerStore(f"the chat store has schema {found}, newer than this version's {HEAD}: nothing was changed")
    command.upgrade(config, "head")
