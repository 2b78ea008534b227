"""What only its maker can read goes to nobody else."""

from typing import Any

from app.serving.provider_state import state_of, without_foreign_state

OURS, THEIRS = "signed by us", "signed by them"


def keeps(value: str) -> bool:
    return value == OURS


def thinking(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "Hm.", "signature": signature}


def reasoning(content: str | None, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "encrypted_content": content, **more}


def test_messages_lose_the_state_of_others_and_nothing_else() -> None:
    document: dict[str, Any] = {
        "model": "coterie",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Ho", "thinking_blocks": [thinking(OURS), thinking(THEIRS)]},
            {"role": "assistant", "content": "He", "reasoning_items": [reasoning(THEIRS)]},
            {"role": "assistant", "content": [thinking(THEIRS), {"type": "text", "text": "Ha"}]},
            {"role": "assistant", "content": "Hu", "reasoning_content": "Plain text."},
        ],
    }
    assert [value for message in document["messages"] for value in state_of(message)] == [
        OURS,
        *[THEIRS] * 3,
    ]
    assert without_foreign_state(document, keeps)["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho", "thinking_blocks": [thinking(OURS)]},
        {"role": "assistant", "content": "He"},
        {"role": "assistant", "content": [{"type": "text", "text": "Ha"}]},
        {"role": "assistant", "content": "Hu", "reasoning_content": "Plain text."},
    ]
    assert without_foreign_state(document, lambda value: True) is document


def test_a_responses_request_loses_reasoning_items_and_the_ids_that_refer_to_them() -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "read", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
    document = {"input": [{"role": "user", "content": "Hi"}, reasoning(THEIRS, id="rs_1"), call, result]}
    without_id = {name: value for name, value in call.items() if name != "id"}
    assert without_foreign_state(document, keeps) == {"input": [document["input"][0], without_id, result]}
    assert without_foreign_state({"input": [reasoning(OURS), call]}, keeps)["input"][1] is call
    assert without_foreign_state({"input": "Hi"}, keeps) == {"input": "Hi"}


def test_a_signature_on_a_tool_call_is_state() -> None:
    def calling(signature: str) -> dict[str, Any]:
        signed = {"google": {"thought_signature": signature}}
        return {"role": "assistant", "tool_calls": [{"id": "call_1", "extra_content": signed}]}

    for signature, left in (
        (OURS, calling(OURS)),
        (THEIRS, {"role": "assistant", "tool_calls": [{"id": "call_1"}]}),
    ):
        assert without_foreign_state({"messages": [calling(signature)]}, keeps)["messages"] == [left]
