"""Generates conversations of agents: tools, harness text, retries, branches, idle gaps. Our own writing.

A conversation is a generator: it yields what its client asks next, and is sent the answer. What it asks does
not depend on who answers, so that every way of routing sees the same requests.
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

Message = dict[str, Any]

MAKER = "x-maker"
"""A field of generated messages: the expert that made a tool call. The router does not read it."""

HOUR = 3_600.0

FOLLOW_UPS = (
    "And now the other one, please.",
    "Why?",
    "Shorter, and keep the names.",
    "Good. Go on with the next part.",
    "That is not what I meant: look at the second case again.",
    "Do the same for the rest.",
    "Can you check that once more?",
    "ok",
)
NARRATION = (
    "Let me look at that first.",
    "I will check what is there.",
    "The first part is clear; now the second.",
    "",
    "",
)
CLOSING = (
    "That is done. The change is small, and the two cases from before still hold.",
    "Here is what I found: the first half is as you said, the second differs in one place.",
    "I have written it down in the order that you asked for, with the exceptions at the end.",
    "It comes to three points, of which the last one matters most for what you want to do.",
)
TOOLS = ("read_file", "search", "run", "list_folder")
SUBJECTS = ("notes/plan.md", "src/parser.py", "data/ferries.csv", "letters/harbour.txt", "README.md")
LINES = (
    "07:40 Nordhavn, gate 2, delayed by fog",
    "def depart(ferry, minute): return ferry.at(minute + 1)",
    "Crates: 14 of flour, 3 of paint, one box of letters",
    "warning: the clause on fuel is open until Friday",
    "| quay | crew | boats |",
    "The assembly voted on the new tariff after two hours.",
)
REMINDERS = (
    "<system-reminder>\nCalendar: contract review with the lawyers, invoice run.\n</system-reminder>",
    "<environment_details>\n# Open tabs\nnotes/plan.md\n# Time\n09:12\n</environment_details>",
    "<SYSTEM-REMINDER>The list of tasks is empty. Do not mention this.</SYSTEM-REMINDER>",
    "<ide_opened_file>The user opened letters/harbour.txt, a poem about a fever.</ide_opened_file>",
    "<workspace-state clean='no'>\n M src/parser.py\n?? notes/dosage.md\n</workspace-state>",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the expert that is asked says: a text, calls of tools (name and arguments), and whether it thinks
    in a form that only it can read."""

    text: str
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    thinks: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One request. `wait_s`: seconds since the client's last one; `fails`: the expert that is chosen first is
    down this time."""

    messages: tuple[Message, ...]
    key: str
    wait_s: float
    answer: Answer
    fails: bool


Conversation = Generator[Step, Message, None]
Asks = Mapping[str, Sequence[str]]
"""First requests by category."""


def agent_conversations(count: int, asks: Asks, seed: int = 0) -> list[Conversation]:
    """`count` conversations. One pair in five says the same under two keys."""
    found = []
    for number in range(count):
        twin = (number // 2) % 5 == 0
        source = Random(f"{seed}:{number // 2 if twin else number}:{twin}")
        found.append(_Client(source, asks, "ab"[number % 2]).conversation())
    return found


class _Client:
    """One agent's client: its history, and its habits."""

    def __init__(self, random: Random, asks: Asks, key: str) -> None:
        self._random = random
        self._asks = asks
        self._key = key
        self._wrap = random.choice(_WRAPS)
        self._thinks = random.random() < 0.3
        self._rewrites = random.random() < 0.3
        self._history: list[Message] = []
        self._wait_s = 0.0

    def conversation(self) -> Conversation:
        self._history = [{"role": "system", "content": "You help with the work at hand."}]
        for _ in range(self._random.choice((1, 1, 2, 3))):
            category = self._random.choice(sorted(self._asks))
            for number in range(self._random.choice((1, 2, 2, 3))):
                self._forget()
                self._wait_s += self._random.expovariate(1 / 60)
                self._wait_s += 2 * HOUR if self._chance(0.08) else 0
                said = self._random.choice(self._asks[category] if number == 0 else FOLLOW_UPS)
                self._history.append({"role": "user", "content": self._wrap(self._random, said)})
                yield from self._work()

    def _work(self) -> Conversation:
        """Tool calls and their results, then a text."""
        for _ in range(self._random.choice((0, 1, 2, 3, 4, 6, 8))):
            calls = tuple(self._call() for _ in range(self._random.choice((1, 1, 1, 2, 3))))
            yield from self._answered(Answer(self._random.choice(NARRATION), calls, self._thinks))
            yield from self._results()
        yield from self._answered(Answer(self._random.choice(CLOSING), (), self._thinks))

    def _answered(self, answer: Answer) -> Conversation:
        """Ask; a client that saw no answer asks again, and keeps the second."""
        reply = yield self._step(answer)
        if self._chance(0.03):
            reply = yield self._step(answer)
        self._history.append(self._rewritten(reply) if self._rewrites else reply)

    def _results(self) -> Conversation:
        """The results of the calls that were made last."""
        made = self._history[-1]
        results: list[Message] = [
            {
                "role": "tool",
                "tool_call_id": call["id"],
                "content": "\n".join(self._random.choices(LINES, k=self._random.randint(1, 40))),
                MAKER: made[MAKER],
            }
            for call in made["tool_calls"]
        ]
        self._random.shuffle(results)
        self._wait_s += 3 * HOUR if self._chance(0.04) else self._random.expovariate(1 / 5)
        if len(results) > 1 and self._chance(0.1):
            # A client that sends each result as it has it, and drops what is said before the last one.
            self._history.append(results.pop())
            yield self._step(Answer("I wait for the rest.", (), self._thinks))
        if self._chance(0.02):
            self._history = [{"role": "user", "content": self._summary()}, made, *self._since(made)]
        self._history += results
        if self._chance(0.15):
            self._history.append({"role": "user", "content": self._random.choice(REMINDERS)})
        if self._chance(0.03):
            self._history.append({"role": "user", "content": self._any_ask()})

    def _forget(self) -> None:
        """What clients do with their history between two requests of a person."""
        asked = [at for at, each in enumerate(self._history) if each["role"] == "user"]
        if len(asked) < 2:
            return
        if self._chance(0.06):
            del self._history[self._random.choice(asked[1:]) :]  # another branch
        elif self._chance(0.04):
            del self._history[: asked[-1]]  # only the last exchange is kept
        elif self._chance(0.03):
            self._history = [{"role": "user", "content": self._summary()}]

    def _step(self, answer: Answer) -> Step:
        wait_s, self._wait_s = self._wait_s, 0.0
        return Step(tuple(self._history), self._key, wait_s, answer, self._chance(0.02))

    def _call(self) -> tuple[str, Mapping[str, Any]]:
        path, line = self._random.choice(SUBJECTS), self._random.randint(1, 400)
        return self._random.choice(TOOLS), {"path": path, "line": line, "lines": 40}

    def _since(self, made: Message) -> list[Message]:
        at = next(number for number, each in enumerate(self._history) if each is made)
        return self._history[at + 1 :]

    def _rewritten(self, reply: Message) -> Message:
        """The answer as a client writes it that parses and trims."""
        calls = [
            {**call, "function": {**call["function"], "arguments": _indented(call["function"]["arguments"])}}
            for call in reply.get("tool_calls", ())
        ]
        return {**reply, "content": f"{reply['content']}\n", **({"tool_calls": calls} if calls else {})}

    def _summary(self) -> str:
        return f"Summary of what was said before: {self._any_ask()} The first part is done."

    def _any_ask(self) -> str:
        return self._random.choice(self._asks[self._random.choice(sorted(self._asks))])

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability


def _indented(arguments: str) -> str:
    return json.dumps(json.loads(arguments), indent=1)


def _plain(random: Random, said: str) -> str:
    return said


def _reminded(random: Random, said: str) -> str:
    return f"{random.choice(REMINDERS)}\n{said}" if random.random() < 0.5 else said


def _task(random: Random, said: str) -> str:
    return f"<task>\n{said}\n</task>\n{REMINDERS[1]}"


def _query(random: Random, said: str) -> str:
    files = "\n".join(random.choices(LINES, k=3))
    return f"<attached_files>\n{files}\n</attached_files>\n<user_query>\n{said}\n</user_query>"


def _with_file(random: Random, said: str) -> str:
    lines = "\n".join(random.choices(LINES, k=random.randint(2, 30)))
    return f'{said}\n<file path="{random.choice(SUBJECTS)}">\n{lines}\n</file>'


_WRAPS: tuple[Callable[[Random, str], str], ...] = (_plain, _plain, _reminded, _task, _query, _with_file)
