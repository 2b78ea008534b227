"""False positives and negatives of decontamination: the numbers of docs/explanation/decontamination.md.

    python -m benchmarks.decontamination_errors TABLE... [--prompts 1000]

Half of the prompts of each outcome table count as fitting prompts. The other half is screened unchanged:
refused prompts are listed for manual inspection. Then fitting prompts are screened with small edits:
those not refused are false negatives.
"""

import argparse
import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from eval.decontamination import fitted_prompts, screen
from routers.embeddings import encode_cached, vectors_folder
from routers.encoder import load_encoder
from routers.outcome_table import read_outcomes

Change = Callable[[str, random.Random], str | None]
CHANGED = 200
"""Prompts of each table per kind of edit."""


def respaced(prompt: str, _: random.Random) -> str | None:
    return "  ".join(prompt.upper().split(" ")) + "!"


def prefixed(prompt: str, _: random.Random) -> str | None:
    return f"Please answer this question. {prompt}"


def suffixed(prompt: str, _: random.Random) -> str | None:
    return f"{prompt}\n\nThink step by step."


def misspelt(prompt: str, draw: random.Random) -> str | None:
    words = prompt.split(" ")
    at = draw.randrange(len(words))
    word = words[at]
    words[at] = word[: len(word) // 2] + word[len(word) // 2 + 1 :]
    return " ".join(words)


def shortened(prompt: str, draw: random.Random) -> str | None:
    words = prompt.split(" ")
    if len(words) < 5:
        return None
    words.pop(draw.randrange(len(words)))
    return " ".join(words)


def renumbered(prompt: str, draw: random.Random) -> str | None:
    numbers = list(re.finditer(r"\d{1,6}", prompt))
    if not numbers:
        return None
    one = draw.choice(numbers)
    return f"{prompt[: one.start()]}{int(one.group()) + draw.randrange(1, 9)}{prompt[one.end() :]}"


def reordered(prompt: str, draw: random.Random) -> str | None:
    lines = prompt.split("\n")
    return "\n".join(draw.sample(lines, len(lines))) if len(lines) > 2 else None


CHANGES: dict[str, Change] = {
    "case, blanks, punctuation": respaced,
    "a sentence before": prefixed,
    "a sentence after": suffixed,
    "one letter less": misspelt,
    "one word less": shortened,
    "one number changed": renumbered,
    "lines in another order": reordered,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--prompts", type=int, default=1000, help="prompts taken of each half, at most")
    options = parser.parse_args(arguments)
    encoder = load_encoder(threads=2)
    sys.stdout.write(f"| table | screened | refused | {' | '.join(CHANGES)} |\n")
    sys.stdout.write("|---" * (3 + len(CHANGES)) + "|\n")
    refused_pairs: list[str] = []
    for folder in options.tables:
        table = read_outcomes(folder)
        order = np.random.default_rng(0).permutation(len(table))
        half = min(options.prompts, len(table) // 2)
        fit, held = table.take(order[:half]), table.take(order[half : 2 * half])
        vectors = encode_cached(encoder, fit.prompts, vectors_folder())
        fitted = fitted_prompts(fit.prompts, vectors)
        found = screen(held.prompts, fitted, encode_cached(encoder, held.prompts, vectors_folder()))
        refused_pairs += [f"{folder.name}: {held.prompts[row]!r:.150}" for row in np.flatnonzero(found.near)]
        shares = []
        for change in CHANGES.values():
            draw = random.Random(0)
            changed = [each for each in (change(prompt, draw) for prompt in fit.prompts[:CHANGED]) if each]
            if not changed:
                shares.append("–")
                continue
            caught = screen(changed, fitted, encoder.encode(changed)).refused
            shares.append(f"{caught.mean():.0%}")
        seen, near = int(found.seen.sum()), int((found.near & ~found.seen).sum())
        cells = " | ".join([folder.name, str(len(held)), f"{seen} same, {near} near", *shares])
        sys.stdout.write(f"| {cells} |\n")
        sys.stdout.flush()
    sys.stdout.write("\nNear copies among different prompts:\n" + "\n".join(refused_pairs) + "\n")


if __name__ == "__main__":
    main()
