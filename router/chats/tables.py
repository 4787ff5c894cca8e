"""The tables of the chat store. What stands here is what the newest migration leaves behind; a test compares them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

#: The newest migration. A store that says anything unknown is newer than this program.
HEAD = "0001"

metadata = MetaData()

chats = Table(
    "chats",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("title_folded", Text, nullable=False),  # for searching in it whatever the case
    Column("source", Text, nullable=False),
    Column("username", Text),
    Column("scope", Text),
    Column("pinned", Boolean, nullable=False),
    Column("fork", Boolean, nullable=False),
    Column("forked_from", String(24)),  # not a reference: the source may be deleted
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("messages", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Index("chats_by_time", "owner", "updated", "id"),
)

messages = Table(
    "messages",
    metadata,
    Column("chat_id", String(24), ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("digest", String(32), nullable=False),
    Column("more", Text),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Index("messages_by_id", "chat_id", "id", unique=True),
)

requests = Table(
    "requests",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("chat_id", String(24), ForeignKey("chats.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("requests_by_chat", "chat_id"),
    Index("requests_by_time", "expires"),
)
