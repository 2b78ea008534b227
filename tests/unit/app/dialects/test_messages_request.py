"""Requests to Anthropic's Messages API, as chat completion requests."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.dialects.dialect import Translation
from app.dialects.messages_body import MessagesBody
from app.dialects.messages_request import to_chat
from app.errors import ServiceError
from app.serving.chat_body import ChatBody

Document = dict[str, Any]

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
USER = {"role": "user", "content": "hello"}


def request(*messages: Document, **fields: Any) -> Translation:
    document = {"model": "coterie", "max_tokens": 64, "messages": list(messages) or [USER], **fields}
    MessagesBody.model_validate(document)
    translated = to_chat(document)
    ChatBody.model_validate(translated.chat)
    return translated


def chat(*messages: Document, **fields: Any) -> Document:
    return dict(request(*messages, **fields).chat)


def said(*blocks: Document, role: str = "user") -> list[Document]:
    """The chat messages of one message with these blocks."""
    messages: list[Document] = chat({"role": role, "content": list(blocks)})["messages"]
    return messages


def text(words: str) -> Document:
    return {"type": "text", "text": words}


def call(number: int, **given: Any) -> Document:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "look", "input": given}


def result(number: int, content: Any = None, **fields: Any) -> Document:
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content, **fields}


def test_a_plain_request_keeps_its_fields_under_chats_names() -> None:
    assert chat(
        system="Be brief.",
        stop_sequences=["END"],
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        stream=True,
        metadata={"user_id": "somebody"},
        routing={"category": "coding"},
    ) == {
        "model": "coterie",
        "max_tokens": 64,
        "messages": [{"role": "system", "content": "Be brief."}, USER],
        "stop": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stream": True,
        "user": "somebody",
        "routing": {"category": "coding"},
    }


@pytest.mark.parametrize(
    "field",
    [
        {"service_tier": "auto"},
        {"context_management": {"edits": []}},
        {"cache_control": {"type": "ephemeral"}},
        {"inference_geo": "eu"},
        {"metadata": {"user_id": "x" * 200}},
        {"thinking": {"type": "adaptive"}},
        {"some_beta": {"new": True}},
        {"tools": []},
        {"stop_sequences": []},
    ],
)
def test_what_no_server_would_know_is_left_out(field: Document) -> None:
    assert chat(**field) == chat()


def test_system_blocks_are_joined_without_cache_marks_and_billing() -> None:
    blocks = [
        text("x-anthropic-billing-header: cc_version=2;"),
        text("A") | {"cache_control": {"type": "ephemeral"}},
        text("B"),
    ]
    assert chat(system=blocks)["messages"][0] == {"role": "system", "content": "A\nB"}


def test_a_system_message_in_the_middle_stays_where_it_is() -> None:
    later = {"role": "system", "content": [text("Answer only BLUE.")]}
    assert chat(USER, later)["messages"] == [USER, {"role": "system", "content": "Answer only BLUE."}]


def test_turns_of_one_role_in_a_row_are_one_message() -> None:
    messages = chat(USER, USER, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"})
    assert messages["messages"] == [
        {"role": "user", "content": [text("hello"), text("hello")]},
        {"role": "assistant", "content": "ab"},
    ]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "image", "source": PNG},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        ),
        (
            {
                "type": "document",
                "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            },
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        ),
        (
            {
                "type": "document",
                "title": "Notes",
                "source": {"type": "text", "media_type": "text/plain", "data": "One."},
            },
            text('<document title="Notes">\nOne.\n</document>'),
        ),
        (
            {"type": "document", "source": {"type": "content", "content": [text("One.")]}},
            text("<document>\nOne.\n</document>"),
        ),
        (
            {"type": "search_result", "source": "s", "title": "t", "content": [text("One.")]},
            text('<search_result title="t" source="s">\nOne.\n</search_result>'),
        ),
    ],
)
def test_blocks_of_a_user(block: Document, part: Document) -> None:
    assert said(text("see"), block) == [{"role": "user", "content": [text("see"), part]}]


def test_tool_calls_and_results_in_the_order_that_chats_want() -> None:
    messages = chat(
        USER,
        {"role": "assistant", "content": [text("I look."), call(1, place="Paris"), call(2)]},
        {"role": "user", "content": [result(1, [text("sunny"), text("warm")]), result(2), text("And?")]},
    )["messages"]

    assert messages[1]["content"] == "I look."
    assert [made["id"] for made in messages[1]["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert json.loads(messages[1]["tool_calls"][0]["function"]["arguments"]) == {"place": "Paris"}
    assert messages[2:] == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny\nwarm"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": ""},
        {"role": "user", "content": "And?"},
    ]


def test_a_failed_call_says_so_and_its_image_goes_to_the_user() -> None:
    screenshot = {"type": "image", "source": PNG}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
    assert said(result(1, [text("no such file"), screenshot], is_error=True)) == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: no such file"},
        {"role": "user", "content": [image]},
    ]


def test_thinking_goes_back_as_reasoning_and_signed_blocks_as_they_came() -> None:
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "eHg="}
    unsigned = {"type": "thinking", "thinking": "Well.", "signature": ""}
    message = chat(USER, {"role": "assistant", "content": [signed, hidden, unsigned, text("Yes.")]}, USER)
    assert message["messages"][1] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "Hm.Well.",
        "thinking_blocks": [signed, hidden],
    }


def test_a_last_assistant_message_is_continued() -> None:
    begun = chat(USER, {"role": "assistant", "content": "The answer is ("})
    assert begun["continue_final_message"] is True and begun["add_generation_prompt"] is False
    assert "continue_final_message" not in chat(USER, {"role": "assistant", "content": "x"}, USER)


def test_tools_are_functions() -> None:
    schema = {"type": "object", "properties": {"place": {"type": "string"}}}
    tools = [
        {"name": "look", "description": "Looks.", "input_schema": schema, "cache_control": {"type": "e"}},
        {"type": "custom", "name": "go", "input_schema": schema, "strict": True},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    ]
    functions = [tool["function"] for tool in chat(tools=tools)["tools"]]
    assert functions[0] == {"name": "look", "description": "Looks.", "parameters": schema}
    assert functions[1] == {"name": "go", "parameters": schema, "strict": True}
    assert [each["name"] for each in functions[2:]] == ["bash", "str_replace_based_edit_tool"]
    assert functions[3]["parameters"]["required"] == ["command", "path"]


@pytest.mark.parametrize(
    ("choice", "fields"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "any", "disable_parallel_tool_use": True},
            {"tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"type": "tool", "name": "look"},
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
        ),
    ],
)
def test_tool_choice(choice: Document, fields: Document) -> None:
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    made = chat(tools=tools, tool_choice=choice)
    assert {name: made[name] for name in ("tool_choice", "parallel_tool_calls") if name in made} == fields


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, "high"),
        ({"output_config": {"effort": "max"}, "thinking": {"type": "adaptive"}}, "high"),
        ({"thinking": {"type": "disabled"}}, None),
    ],
)
def test_effort(fields: Document, effort: str | None) -> None:
    assert chat(**fields).get("reasoning_effort") == effort


@pytest.mark.parametrize("where", ["output_format", "output_config"])
def test_an_output_schema_is_a_response_format(where: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    made = chat(**{where: wanted if where == "output_format" else {"format": wanted}})
    assert made["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"mcp_servers": [{"type": "url", "name": "n", "url": "https://example.org"}]}, "mcp_servers"),
        ({"container": "c_1"}, "container"),
        (
            {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]},
            "messages[0].content[0]",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
                    }
                ]
            },
            "messages[0].content[0].source",
        ),
        (
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
                        ],
                    },
                ]
            },
            "messages[1].content[0]",
        ),
    ],
)
def test_what_only_anthropics_api_can_do_is_named(fields: Document, path: str) -> None:
    document = {"model": "coterie", "max_tokens": 1, "messages": [USER], **fields}
    native_only = to_chat(document).native_only
    assert native_only is not None and native_only.param == path


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "nonsense"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages[0].content[0].source",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]},
            "messages[0].content[0].tool_use_id",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]}]},
            "messages[0].content[0].name",
        ),
        ({"messages": [{"role": "system", "content": "only"}]}, "messages"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"tools": [{"name": "look"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {"type": "object"}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "sometimes"}}, "tool_choice.type"),
        ({"output_config": {"effort": {}}, "tools": [{"type": []}, {"type": {}}]}, "tools[0].name"),
        ({"system": [{"type": "image"}]}, "system[0]"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ],
)
def test_what_is_no_request_is_refused_by_its_path(fields: Document, path: str) -> None:
    with pytest.raises(ServiceError) as refused:
        to_chat({"model": "coterie", "max_tokens": 1, "messages": [USER], **fields})
    assert (refused.value.status, refused.value.param) == (400, path)


SCALARS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})
)
KINDS = [
    "text",
    "image",
    "document",
    "search_result",
    "tool_use",
    "tool_result",
    "thinking",
    "base64",
    "content",
    "custom",
    "enabled",
]
NAMES = [
    "budget_tokens",
    "content",
    "data",
    "effort",
    "format",
    "id",
    "input",
    "input_schema",
    "name",
    "schema",
    "source",
    "text",
    "title",
    "tool_use_id",
    "user_id",
]
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.builds(
            lambda kind, fields: {"type": kind, **fields},
            st.sampled_from(KINDS) | SCALARS,
            st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
        )
    ),
    max_leaves=8,
)
FIELDS = [
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "container",
]
TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": ANYTHING}),
    max_size=3,
)


@given(TURNS, st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3))
def test_any_document_is_translated_or_refused(turns: list[Document], fields: Document) -> None:
    document = {"model": "coterie", "max_tokens": 1, "messages": [*turns, USER], **fields}
    try:
        MessagesBody.model_validate(document)
        ChatBody.model_validate(to_chat(document).chat)
    except ValidationError as error:
        assert error.title == "MessagesBody"
    except ServiceError as error:
        assert error.status == 400 and error.param
