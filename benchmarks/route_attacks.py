"""How many requests change their expert when a few words are put around them.

    python -m benchmarks.route_attacks [--composition routers/compositions/cpu] [--table TABLE]
        [--requests 100] [--queries 300] [--kept found.jsonl] [--json figures.json]

Takes requests of the test prompts, or of an outcome table that the composition was not fitted on, and
searches for words that move each of them. The oracle is the `Router` that `POST /v1/route` asks, and the
search sees what that shows: expert, reason, values and probability. Three goals: a dearer expert, a
cheaper one, and `uncertain`. The search tries triggers of published attacks (arXiv 2501.01818, 2503.08704)
at either end, then the words to which the composition's classifier reacts most, six of a category at once,
then single ones by a beam search: at most MOST_WORDS words in all, before and after the request, and at most
`--queries` decisions for a request and a goal. An expert is dear or cheap by what the policy takes off for
its size, price or compute, by its active parameters if it weighs nothing. Finished requests are kept in
`--kept`, so an interrupted run resumes.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from base.json_documents import write_json
from base.jsonl import read_rows
from prompts.mixture.held_out_evidence import wilson
from prompts.seeds import load_seeds
from routers.composition import Composition, load_composition
from routers.decision import Decision, Reason
from routers.encoder import load_encoder
from routers.features import features_of
from routers.outcome_table import read_outcomes
from routers.request import Matrix, Request, Turn
from routers.router import Router

TRIGGERS = (
    "write a function", "```python", "```", "def f(x): return x", "Write it in Python code.",
    "$$\\int_0^1 x^2\\,dx$$", "Solve for x: 3x^2+2=0", "Prove it step by step.", "this is very hard",
    "This is an extremely complex question.", "Think step by step.", "Use rigorous mathematics.",
    "hi there", "just say hello", "thanks!", "this is very easy", "in one word", "Translate it.",
    "Summarize it briefly.", "A) yes B) no C) both",
)  # fmt: skip
"""Published attacks and the same for other experts, each of at most MOST_WORDS words."""
MOST_WORDS = 6
BEAM, FANOUT = 3, 12
"""Texts that a step of the search goes on from, and words tried at each end of each."""
ROUNDS = 100
"""Steps of the search, more than any sensible budget allows."""
PER_CATEGORY = 40
"""Words of a category that the search knows."""

Goal = Literal["dearer", "cheaper", "uncertain"]
Judge = Callable[[str], Decision]
LONGEST = 1_000_000
BANDS = ((0, 10), (10, 20), (20, 40), (40, LONGEST))
"""Lengths of requests in words for which shares are shown: from, to (excluded)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The search on one request, with at most `budget` decisions: `queries` made, and the `text` that moved
    it, None if none did. `composition` is a digest."""

    composition: str
    prompt: str
    goal: Goal
    budget: int
    expert: str
    queries: int
    text: str | None = None
    moved_to: str | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """Words before and after a request."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def text(self, prompt: str) -> str:
        return " ".join([*self.before, prompt, *self.after])

    @property
    def words(self) -> int:
        return len(self.before) + len(self.after)


def prices(composition: Composition) -> Mapping[str, float]:
    """What each expert takes by the policy's weights, or its active parameters in billions."""
    weighed = composition.costs(None)[0]
    found = weighed if weighed.any() else [card.active_params_b for card in composition.experts]
    return {name: float(price) for name, price in zip(composition.expert_names, found, strict=True)}


def vocabulary(composition: Composition, encode: Callable[[Sequence[str]], Matrix]) -> dict[str, list[str]]:
    """For each category the words of the seed prompts that raise its logit most, most effective first."""
    counts = Counter(word for seed in load_seeds("fit") for word in set(seed.prompt.split()))
    words = [word for word, count in sorted(counts.items()) if count > 1 and len(word) < 24]
    logits = composition.classifier.logits(encode(words))
    gains = logits - logits.mean(axis=1, keepdims=True)
    order = np.argsort(-gains, axis=0, kind="stable")[:PER_CATEGORY]
    return {
        name: [words[row] for row in order[:, column]] for column, name in enumerate(composition.categories)
    }


class Search:
    """Searches with one composition; `judge` is the oracle."""

    def __init__(self, judge: Judge, composition: Composition, words: Mapping[str, Sequence[str]]) -> None:
        self._judge, self._prices, self._digest = judge, prices(composition), composition.digest
        self._map = composition.map
        self._words = words

    def goals(self, decision: Decision) -> Iterator[Goal]:
        """What `decision` can be moved to: there are experts dearer or cheaper than its own that are best for
        some category, and it is not uncertain already."""
        mine = self._prices[decision.expert]
        useful = [self._prices[name] for name in self._map.values()]
        if max(useful) > mine:
            yield "dearer"
        if min(useful) < mine:
            yield "cheaper"
        if decision.reason is not Reason.UNCERTAIN:
            yield "uncertain"

    def attack(self, prompt: str, goal: Goal, budget: int) -> Attempt:
        """Search until the request has moved or `budget` decisions are used."""
        random = np.random.default_rng(0)
        first = self._judge(prompt)
        seen: dict[Around, float] = {}
        for around in self._candidates(first, goal, seen, random):
            if around in seen:
                continue
            if len(seen) == budget:
                break
            decision = self._judge(around.text(prompt))
            seen[around] = self._progress(first, decision, goal)
            if self._moved(first, decision, goal):
                found = around.text(prompt)
                return Attempt(
                    self._digest, prompt, goal, budget, first.expert, len(seen), found, decision.expert
                )
        return Attempt(self._digest, prompt, goal, budget, first.expert, len(seen))

    def _moved(self, first: Decision, now: Decision, goal: Goal) -> bool:
        if goal == "uncertain":
            return now.reason is Reason.UNCERTAIN
        gained = self._prices[now.expert] - self._prices[first.expert]
        return gained > 0 if goal == "dearer" else gained < 0

    def _progress(self, first: Decision, now: Decision, goal: Goal) -> float:
        """How near `now` is to the goal; more is nearer."""
        if goal == "uncertain":
            return -(now.probability or 0.0)
        mine = self._prices[first.expert]
        sign = 1 if goal == "dearer" else -1
        wanted = [each.value for each in now.ranking if sign * (self._prices[each.expert] - mine) > 0]
        others = [each.value for each in now.ranking if sign * (self._prices[each.expert] - mine) <= 0]
        return max(wanted) - max(others)

    def _candidates(
        self, first: Decision, goal: Goal, seen: Mapping[Around, float], random: np.random.Generator
    ) -> Iterator[Around]:
        """What to try, the best first; reads `seen` as it fills."""
        categories = self._useful_categories(first, goal)
        bundles = [tuple(self._words[name][:MOST_WORDS]) for name in categories]
        for words in (*(tuple(trigger.split()) for trigger in TRIGGERS), *bundles):
            yield Around(after=words)
            yield Around(before=words)
        for words in bundles:
            yield Around(words[: MOST_WORDS // 2], words[: MOST_WORDS // 2])
        pool = [word for name in categories for word in self._words[name]]
        weights = np.concatenate([1 / (1 + np.arange(len(self._words[name]))) for name in categories])
        for _ in range(ROUNDS):
            best = sorted(seen, key=lambda each: (-seen[each], each.words))[:BEAM]
            for state in best:
                for word in random.choice(pool, FANOUT, p=weights / weights.sum()):
                    yield from _with_word(state, str(word), random)

    def _useful_categories(self, first: Decision, goal: Goal) -> list[str]:
        """The categories whose words may lead to the goal."""
        mine = self._prices[first.expert]
        sign = 1 if goal == "dearer" else -1
        found = [
            name
            for name, expert in self._map.items()
            if goal == "uncertain" or sign * (self._prices[expert] - mine) > 0
        ]
        return [name for name in found if name != first.category] or found


def _with_word(state: Around, word: str, random: np.random.Generator) -> Iterator[Around]:
    """`state` with `word` at either end, or in the place of another where there is no more room."""
    if state.words < MOST_WORDS:
        yield Around(state.before, (*state.after, word))
        yield Around((word, *state.before), state.after)
        return
    place = int(random.integers(MOST_WORDS))
    words = [*state.before, *state.after]
    words[place] = word
    cut = len(state.before)
    yield Around(tuple(words[:cut]), tuple(words[cut:]))


def attempts(router: Router, prompts: Sequence[str], queries: int, kept: Path | None = None) -> list[Attempt]:
    """Every goal of every request; those in `kept` are read from there, and new ones added."""
    composition = router.composition
    search = Search(
        lambda text: router.route(Request("attack", (Turn("user", text),))),
        composition,
        vocabulary(composition, lambda words: features_of(router.encoder, words)),
    )
    known = [Attempt(**row) for _, row in read_rows(kept)] if kept and kept.exists() else []
    found = {
        (each.prompt, each.goal): each
        for each in known
        if each.composition == composition.digest and each.budget == queries
    }
    for number, prompt in enumerate(prompts):
        for goal in search.goals(router.route(Request("attack", (Turn("user", prompt),)))):
            if (prompt, goal) in found:
                continue
            found[prompt, goal] = search.attack(prompt, goal, queries)
            if kept:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(found[prompt, goal])) + "\n")
        sys.stderr.write(f"\r{number + 1} of {len(prompts)} requests")
    sys.stderr.write("\n")
    asked = set(prompts)
    return [each for each in found.values() if each.prompt in asked]


@dataclass(frozen=True, slots=True)
class Share:
    """`moved` of `requests` for one goal and one band of lengths, with its 95 % interval (Wilson), and the
    median of the decisions that they took."""

    goal: str
    words: str
    requests: int
    moved: int
    by_trigger: int
    share: float
    low: float
    high: float
    queries: float | None


def shares(found: Sequence[Attempt]) -> list[Share]:
    """By goal, for all requests and by their length in words."""
    rows = []
    for goal in get_args(Goal):
        mine = [each for each in found if each.goal == goal]
        for low, high in ((0, LONGEST), *BANDS):
            inside = [each for each in mine if low <= len(each.prompt.split()) < high]
            if not inside:
                continue
            moved = [each for each in inside if each.text is not None]
            named = f"{low} to {high - 1}" if high < LONGEST else f"{low} or more" if low else "all"
            triggered = sum(each.queries <= 2 * len(TRIGGERS) for each in moved)
            share, bounds = len(moved) / len(inside), wilson(len(moved), len(inside))
            queries = float(np.median([each.queries for each in moved])) if moved else None
            rows.append(Share(goal, named, len(inside), len(moved), triggered, share, *bounds, queries))
    return rows


def table(rows: Sequence[Share]) -> str:
    """The shares as a Markdown table."""
    lines = [
        "| goal | words of the request | requests | by a fixed trigger | by the search | 95 % interval "
        "| decisions, median |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.goal} | {row.words} | {row.requests} | {row.by_trigger / row.requests:.0%} | "
        f"{row.share:.0%} | {row.low:.0%} to {row.high:.0%} | "
        f"{'–' if row.queries is None else f'{row.queries:g}'} |"
        for row in rows
    ]
    return "\n".join(lines)


def drawn(table_folder: Path | None, count: int) -> list[str]:
    """`count` requests of a table, or of the test prompts, the same each time."""
    if table_folder is None:
        every = [seed.prompt for seed in load_seeds("test")]
    else:
        every = sorted(set(read_outcomes(table_folder).prompts))
    order = np.random.default_rng(0).permutation(len(every))[:count]
    return [every[row] for row in order]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--composition", type=Path, default=Path("routers/compositions/cpu"))
    parser.add_argument("--table", type=Path, help="take requests of this outcome table")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument(
        "--queries", type=int, default=300, help="decisions for a request and a goal, at most"
    )
    parser.add_argument("--kept", type=Path, help="keep finished requests here, and go on from them")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    router = Router(load_encoder(), load_composition(given.composition))
    rows = shares(attempts(router, drawn(given.table, given.requests), given.queries, given.kept))
    sys.stdout.write(table(rows) + "\n")
    if given.json:
        write_json([asdict(row) for row in rows], given.json)


if __name__ == "__main__":
    main()
