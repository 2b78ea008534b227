"""What servers' refusals ask for: their own words, as they are reported."""

from typing import Any

import pytest

from experts.adaptations import NOTHING, Adaptations, AdaptedRequest, LearnedAdaptations, Server, read_refusal

SYSTEM, USER = {"role": "system", "content": "S"}, {"role": "user", "content": "hi"}
SENT: dict[str, Any] = {
    "model": "m",
    "messages": [
        SYSTEM,
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {}}], "name": "ann"},
        SYSTEM,
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": []},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "strict": True}}],
    "response_format": {"type": "json_schema"},
    "max_tokens": 5,
    "my_field": 1,
    **dict.fromkeys(["store", "metadata", "user", "seed", "service_tier", "parallel_tool_calls"], 1),
    **dict.fromkeys(["temperature", "presence_penalty", "reasoning_effort", "stream_options", "n"], 1),
}


@pytest.mark.parametrize(
    ("said", "drop"),
    [
        ("Unrecognized request argument supplied: store", {"store"}),
        ("Unrecognized request arguments supplied: metadata, store", {"metadata", "store"}),
        ("Unknown parameter: 'user'.", {"user"}),
        ("Unsupported parameter: 'seed' is not supported with this model.", {"seed"}),
        ("body.store: Extra inputs are not permitted; body.seed: Extra inputs", {"store", "seed"}),
        ("store: Extra inputs are not permitted", {"store"}),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'store'), 'msg': 'Extra inputs'}]", {"store"}),
        ("body -> store\n  Extra inputs are not permitted (type=extra_forbidden)\nbody -> n\n", {"store"}),
        ("Extra inputs are not permitted, field: 'metadata', value: True", {"metadata"}),
        ("property 'service_tier' is unsupported", {"service_tier"}),
        ("`metadata` is not supported with this model", {"metadata"}),
        ("Additional properties are not allowed ('store' was unexpected)", {"store"}),
        ('Invalid JSON payload received. Unknown name "store": Cannot find field.', {"store"}),
        ("Argument not supported on this model: presencePenalty", {"presence_penalty"}),
        (
            "Unsupported value: 'temperature' does not support 0.2. Only the default is supported.",
            {"temperature"},
        ),
        ("stream_options is not a valid parameter", {"stream_options"}),
        ("messages.1.content.0.cache_control: Extra inputs are not permitted", {"messages[].cache_control"}),
        ("messages.1.name: property 'name' is not supported", {"messages[].name"}),
        (
            "body.messages.3.assistant.reasoning_content: Extra inputs are not permitted",
            {"messages[].reasoning_content"},
        ),
        ('"messages[1].name" is not allowed', {"messages[].name"}),
        ('"store" is not allowed', {"store"}),
        ("chat() got an unexpected keyword argument 'seed'", {"seed"}),
        ("tools.0.function.strict: Extra inputs are not permitted", {"tools[].strict"}),
        ("The 'metadata' parameter is only allowed when 'store' is enabled.", {"metadata"}),
        ("'parallel_tool_calls' is only allowed when 'tools' are specified.", {"parallel_tool_calls"}),
        # What is not ours to leave out, and what is the client's mistake.
        ("Unrecognized request argument supplied: my_field", set()),
        ("body.response_format: Extra inputs are not permitted", set()),
        ("Unsupported parameter: 'tools' is not supported with this model.", set()),
        ("temperature must be below 2", set()),
        ("'reasoning_effort' does not support 'ultra'. Supported values are: 'low'.", set()),
        ("messages[0].role: unknown variant `tool`, expected one of `system`, `user`, `assistant`", set()),
        ("The user asked for something that is not supported; store nothing.", set()),
    ],
)
def test_fields_that_the_server_does_not_know(said: str, drop: set[str]) -> None:
    assert read_refusal(400, said, None, SENT) == Adaptations(frozenset(drop))


def test_the_field_may_be_named_beside_the_message() -> None:
    assert read_refusal(400, "This parameter is not supported.", "seed", SENT).drop == {"seed"}


BOTH = {"alternating_roles", "system_first"}


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        ("System message must be at the beginning.", {"system_first"}),
        ("Error: Jinja Exception: System message must be at the beginning.", {"system_first"}),
        (
            "Only user and assistant roles are supported, except an initial optional system message.",
            {"system_first"},
        ),
        ("Conversation roles must alternate user/assistant/user/assistant/...", BOTH),
        ('messages: roles must alternate between "user" and "assistant"', BOTH),
        ("System role not supported", {"no_system"}),
        ("Only user and assistant roles are supported!", {"no_system"}),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.", {"no_system"}),
        ("body.messages.1.content: Input should be a valid string", {"text_content"}),
        ("messages[1]: invalid type: sequence, expected a string", {"text_content"}),
    ],
)
def test_rules_of_the_chat_template(said: str, rules: set[str]) -> None:
    for status in (400, 422, 500):
        assert read_refusal(status, said, None, SENT) == Adaptations(rules=frozenset(rules))  # type: ignore[arg-type]


def test_a_rule_that_did_not_help_is_followed_by_the_next() -> None:
    known = Adaptations(rules=frozenset({"alternating_roles", "system_first"}))
    said = "Conversation roles must alternate user/assistant"
    assert read_refusal(400, said, None, SENT, known).rules == {"no_system"}
    half = Adaptations(rules=frozenset({"system_first"}))
    optional = "After the optional system message, conversation roles must alternate user/assistant/..."
    assert read_refusal(400, optional, None, SENT, half).rules == {"alternating_roles"}
    all_known = known | Adaptations(rules=frozenset({"no_system"}))
    assert not read_refusal(400, said, None, SENT, all_known)


def test_a_system_message_at_the_beginning_is_not_what_is_wrong() -> None:
    said = "System message must be at the beginning."
    assert not read_refusal(400, said, None, {"messages": [SYSTEM, USER]})


def test_the_limit_goes_under_its_other_name() -> None:
    said = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    learned = read_refusal(400, said, "max_tokens", SENT)
    assert learned == Adaptations(limit="max_completion_tokens")
    assert learned.applied({"max_tokens": 5}) == {"max_completion_tokens": 5}
    assert not read_refusal(400, said, "max_tokens", SENT, learned)
    other = {"max_completion_tokens": 5}
    assert (
        read_refusal(422, "max_completion_tokens: Extra inputs are not permitted", None, other).limit
        == "max_tokens"
    )
    assert not read_refusal(400, "max_tokens is too large: 9. This model supports at most 5.", None, SENT)


def test_other_failures_teach_nothing() -> None:
    for said in ("Unknown parameter: 'store'.", "EngineCore encountered an issue."):
        assert read_refusal(500, said, None, SENT) == NOTHING


def test_what_is_dropped_is_dropped_everywhere() -> None:
    names = {"store", "messages[].cache_control", "messages[].name", "tools[].strict"}
    out = Adaptations(frozenset(names)).applied(SENT)
    assert "store" not in out
    assert out["messages"][1] == {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    assert out["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert SENT["messages"][1]["name"] == "ann"


def test_what_is_learned_is_told_once_and_of_one_server() -> None:
    told: list[tuple[str, str]] = []
    server: Server = ("http://h/v1", "m", "chat")
    learned = LearnedAdaptations(lambda expert, name: told.append((expert, name)))
    learned.add(server, "a", Adaptations(frozenset({"store"})))
    learned.add(server, "a", Adaptations(frozenset({"store", "seed"}), limit="max_tokens"))
    assert told == [("a", "store"), ("a", "max_tokens"), ("a", "seed")]
    assert not learned.of(("http://h/v1", "other", "chat"))


def test_what_cannot_stand_here_may_stand_elsewhere() -> None:
    learned, server = LearnedAdaptations(), ("http://h/v1", "m", "chat")
    asking = AdaptedRequest(learned, server, "a")
    assert asking.learns(400, "'metadata' is only allowed when 'store' is enabled.", None, SENT)
    assert asking.adaptations.drop == {"metadata"}
    asking.succeeded()
    assert not learned.of(server)


def test_the_form_of_an_answer_is_never_left_out() -> None:
    """A server that knows it in no field is asked in chat's form, or answers with its refusal."""
    sent = {"messages": [USER], "output_config": {"format": {"type": "json_schema"}}, "response_format": {}}
    for name in ("output_config", "response_format"):
        assert not read_refusal(400, f"{name}: Extra inputs are not permitted", name, sent, chat=False)
