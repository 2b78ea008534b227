"""How many tokens a prompt has, and how that is known."""

from dataclasses import dataclass
from typing import Literal

CountMethod = Literal["counted", "bounded"]


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The tokens of a prompt for one expert.

    `counted`: by the expert's own tokenizer; `tokens`, `least` and `most` are the same. `bounded`: nobody
    counted; `tokens` is an estimate between `least` and `most`.
    """

    tokens: int
    least: int
    most: int
    method: CountMethod

    @classmethod
    def counted(cls, tokens: int) -> "TokenCount":
        """A count by the expert's own tokenizer."""
        return cls(tokens, tokens, tokens, "counted")
