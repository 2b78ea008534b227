"""A conversation's expert is remembered within its own bound."""

from pathlib import Path

from app.serving.conversations import Conversations
from app.storage.database import Database


async def test_answers_outside_of_conversations_push_none_out_of_memory(tmp_path: Path) -> None:
    storage_without_tables = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    conversations = Conversations(storage_without_tables, bound=1)
    conversations.remember("key", "c", "dec_0", "coder")
    for number in range(1, 5):
        conversations.remember("key", None, f"dec_{number}", "talker")
    assert await conversations.current_expert("key", "c", None) == "coder"
    assert await conversations.current_expert("key", None, "dec_4") == "talker"
    assert await conversations.current_expert("key", None, "dec_0") is None
    assert await conversations.current_expert("other", "c", None) is None
    await storage_without_tables.close()
