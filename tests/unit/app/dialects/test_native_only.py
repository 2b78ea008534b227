"""What only a server can do that speaks the client's dialect itself, is known before one is looked for."""

from typing import Any

import pytest

from app.dialects.chat_completions import CHAT
from app.dialects.completions import COMPLETIONS
from app.dialects.dialect import Dialect
from app.dialects.messages import MESSAGES
from app.dialects.responses import responses_dialect

Document = dict[str, Any]

PROMPT: Document = {"prompt": "hi"}
INPUT: Document = {"input": "hi"}
TURNS: Document = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("dialect", "document", "param"),
    [
        (CHAT, TURNS, None),
        (COMPLETIONS, {**PROMPT, "n": 2, "best_of": 2, "echo": True}, None),
        (COMPLETIONS, {**PROMPT, "logprobs": 1, "suffix": ""}, None),
        (COMPLETIONS, {**PROMPT, "suffix": "end"}, "suffix"),
        (COMPLETIONS, {**PROMPT, "echo": True, "logprobs": 0}, "echo"),
        (COMPLETIONS, {**PROMPT, "max_tokens": 0}, "max_tokens"),
        (COMPLETIONS, {**PROMPT, "best_of": 2}, "best_of"),
        (responses_dialect(), {**INPUT, "tools": [{"type": "custom", "name": "c"}]}, None),
        (responses_dialect("resp_1"), {**INPUT, "tools": [{"type": "mcp"}]}, "tools[0]"),
        (responses_dialect(), {"input": [{"type": "computer_call"}]}, "input[0]"),
        (MESSAGES, {**TURNS, "tools": [{"type": "bash_20250124", "name": "bash"}]}, None),
        (MESSAGES, {**TURNS, "tools": [{"type": "web_search_20250305", "name": "search"}]}, "tools[0]"),
        (MESSAGES, {**TURNS, "container": "c", "mcp_servers": [{}]}, "mcp_servers"),
    ],
)
def test_the_first_thing_that_no_chat_completion_can_say_is_named(
    dialect: Dialect, document: Document, param: str | None
) -> None:
    native_only = dialect.to_chat(document).native_only
    assert (None if native_only is None else native_only.param) == param
