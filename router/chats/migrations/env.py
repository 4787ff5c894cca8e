"""Run by Alembic for every migration. The connection, and its transaction, are those of whoever calls it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
