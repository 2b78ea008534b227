"""Few-shot prompts in front of a conversation: instruction, demos, then the client's messages, so that the
requests of a region share a prefix that servers can cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prompts.mixture.demos import Demo

Layout = Literal["turns", "block"]
"""Demos as turns of the conversation, or as text in the system message."""

_SYSTEM = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class FewShotPrompt:
    """An instruction and demos; without both, the plain prompt."""

    instruction: str = ""
    demos: tuple[Demo, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether requests are left unchanged."""
        return not self.instruction and not self.demos


PLAIN = FewShotPrompt()


def lay_out(
    prompt: FewShotPrompt, messages: Sequence[Mapping[str, Any]], layout: Layout
) -> list[dict[str, Any]]:
    """`messages` with `prompt` in front. A leading system message of the client is appended to ours, since
    many chat templates accept only one."""
    said = [dict(message) for message in messages]
    head = said.pop(0) if said and said[0].get("role") in _SYSTEM else None
    own = prompt.instruction
    shown: list[dict[str, Any]] = []
    if layout == "turns":
        for demo in prompt.demos:
            shown += [
                {"role": "user", "content": demo.input},
                {"role": "assistant", "content": demo.output},
            ]
    elif prompt.demos:
        own = "\n\n".join(filter(None, [prompt.instruction, examples_text(prompt.demos)]))
    if head is not None:
        return [_joined(own, head), *shown, *said]
    front = [{"role": "system", "content": own}] if own else []
    return [*front, *shown, *said]


def examples_text(demos: Sequence[Demo]) -> str:
    """`demos` as a block of text."""
    return "\n\n".join(f"Input: {demo.input}\nOutput: {demo.output}" for demo in demos)


def _joined(own: str, head: dict[str, Any]) -> dict[str, Any]:
    content = head.get("content")
    if not own:
        return head
    if isinstance(content, list):
        return {**head, "content": [{"type": "text", "text": own}, *content]}
    return {**head, "content": f"{own}\n\n{content}" if content else own}
