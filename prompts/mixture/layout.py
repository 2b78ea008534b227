"""How a prompt is put in front of a conversation: what requests share comes first, for the prefix cache.

Instruction, then demos, then what the client said: every request of a region begins with the same tokens,
which a server with prefix caching computes once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prompts.mixture.demos import Demo

Layout = Literal["turns", "block"]
"""`turns` shows demos as turns of the conversation, `block` as text in the system message."""

_SYSTEM = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instruction and the demos that are shown with it; without both, the plain prompt."""

    instruction: str = ""
    demos: tuple[Demo, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the request goes out as it came."""
        return not self.instruction and not self.demos


PLAIN = Prompt()


def lay_out(prompt: Prompt, messages: Sequence[Mapping[str, Any]], layout: Layout) -> list[dict[str, Any]]:
    """`messages` with `prompt` before them; the given messages are left alone.

    A leading system message of the client's joins ours, since many chat templates take only one and only
    at the start: ours first, because all requests share it.
    """
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
    """Demos as one text."""
    return "\n\n".join(f"Input: {demo.input}\nOutput: {demo.output}" for demo in demos)


def _joined(own: str, head: dict[str, Any]) -> dict[str, Any]:
    content = head.get("content")
    if not own:
        return head
    if isinstance(content, list):
        return {**head, "content": [{"type": "text", "text": own}, *content]}
    return {**head, "content": f"{own}\n\n{content}" if content else own}
