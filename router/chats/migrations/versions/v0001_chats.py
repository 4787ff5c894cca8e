"""Chats, their messages, and which requests have been answered."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "chats",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("title_folded", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("username", sa.Text),
        sa.Column("scope", sa.Text),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("fork", sa.Boolean, nullable=False),
        sa.Column("forked_from", sa.String(24)),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_index("chats_by_time", "chats", ["owner", "updated", "id"])
    op.create_table(
        "messages",
        sa.Column("chat_id", sa.String(24), sa.ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("more", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
    )
    op.create_index("messages_by_id", "messages", ["chat_id", "id"], unique=True)
    op.create_table(
        "requests",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("chat_id", sa.String(24), sa.ForeignKey("chats.id", ondelete="CASCADE"), nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("requests_by_chat", "requests", ["chat_id"])
    op.create_index("requests_by_time", "requests", ["expires"])
