"""Few-shot prompts in front of a conversation: instruction, demos, then the client's messages, so that the
requests of a region share a prefix that servers can cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from base.system_prompt import SYSTEM_ROLES, with_system_prompt
from prompts.mixture.demos import Demo

Layout = Literal["turns", "block"]
"""Demos as turns of the conversation, or as text in the system message."""


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
    head = [said.pop(0)] if said and said[0].get("role") in SYSTEM_ROLES else []
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
    return [*(with_system_prompt(own, head) if own else head), *shown, *said]


def examples_text(demos: Sequence[Demo]) -> str:
    """`demos` as a block of text."""
    return "\n\n".join(f"Input: {demo.input}\nOutput: {demo.output}" for demo in demos)
