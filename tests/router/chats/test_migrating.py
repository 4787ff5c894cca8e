"""Migrations: whole or not at all, and what they leave is what the code expects (D12)."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, inspect

from router.chats.migrating import migrate, version
from router.chats.tables import HEAD, metadata


def engine(path: Path):  # type: ignore[no-untyped-def]
    made = create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
    event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return made


def test_tables_are_what_the_migrations_leave(tmp_path: Path) -> None:
    """Names, columns, keys, indexes: the same from a fresh schema as from the migrations."""
    migrated, fresh = engine(tmp_path / "a.db"), engine(tmp_path / "b.db")
    with migrated.begin() as connection:
        migrate(connection)
        assert HEAD == version(connection)
    metadata.create_all(fresh)
    left, right = inspect(migrated), inspect(fresh)

    assert {*right.get_table_names(), "alembic_version"} == set(left.get_table_names())
    for table in right.get_table_names():
        assert repr(right.get_columns(table)) == repr(left.get_columns(table))
        assert right.get_pk_constraint(table) == left.get_pk_constraint(table)
        assert right.get_foreign_keys(table) == left.get_foreign_keys(table)
        assert right.get_indexes(table) == left.get_indexes(table)
    migrated.dispose()
    fresh.dispose()


def test_d12_half_a_migration_is_none(tmp_path: Path) -> None:
    """What is killed before its end leaves nothing, and the next start begins anew."""
    made = engine(tmp_path / "a.db")
    with pytest.raises(KeyboardInterrupt), made.begin() as connection:
        migrate(connection)
        raise KeyboardInterrupt
    with made.begin() as connection:
        assert None is version(connection) and [] == inspect(connection).get_table_names()

        migrate(connection)
        migrate(connection)

        assert HEAD == version(connection)
    made.dispose()
