"""Routing of requests in languages other than English: correct, uncertain, or confidently misrouted.

    python -m benchmarks.language_handling [--composition routers/compositions/cpu] [--json figures.json]

Reads `foreign_requests.yaml` and the test prompts labelled as another language; nothing is fitted on
either. By our categories, a request mainly in another language belongs to `languages`; an uncertain request
goes to the generalist, which is correct too. A confident other category is a misroute, and the table
names it. `recognised`: requests whose language `routers.language` detects, as used by operators' rules.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from base.json_documents import write_json
from prompts.seeds import load_seeds
from routers.composition import Composition, load_composition
from routers.decide import decide
from routers.decision import Classification
from routers.encoder import Encoder, load_encoder
from routers.features import features_of
from routers.language import identify_language
from routers.request import Request, Turn

CATEGORY = "languages"
UNCERTAIN = "?"
REQUESTS = Path(__file__).with_name("foreign_requests.yaml")


@dataclass(frozen=True, slots=True)
class Fate:
    """`as_languages` + `uncertain` + `misrouted` = `prompts`; `taken_for` counts the misrouted;
    `recognised`: those whose language `routers.language` detects."""

    language: str
    prompts: int
    as_languages: int
    uncertain: int
    misrouted: int
    taken_for: dict[str, int]
    recognised: int


def fate_of(language: str, prompts: Sequence[str], composition: Composition, encoder: Encoder) -> Fate:
    """Routing outcomes of `prompts`, written in `language`."""
    counts: Counter[str] = Counter()
    for prompt, row in zip(prompts, features_of(encoder, prompts), strict=True):
        request = Request("check", (Turn("user", prompt),), features=row)
        decision = decide(request, composition, composition.policy)
        unsure = decision.classification is Classification.UNCLASSIFIED
        counts[UNCERTAIN if unsure else decision.category or UNCERTAIN] += 1
    taken_for = {name: n for name, n in counts.most_common() if name not in (CATEGORY, UNCERTAIN)}
    return Fate(
        language,
        len(prompts),
        counts[CATEGORY],
        counts[UNCERTAIN],
        sum(taken_for.values()),
        taken_for,
        sum(identify_language(prompt) == language for prompt in prompts),
    )


def total(found: Sequence[Fate]) -> Fate:
    """The sum over languages."""
    taken_for: Counter[str] = Counter()
    for each in found:
        taken_for.update(each.taken_for)
    return Fate(
        "all",
        sum(each.prompts for each in found),
        sum(each.as_languages for each in found),
        sum(each.uncertain for each in found),
        sum(each.misrouted for each in found),
        dict(taken_for.most_common()),
        sum(each.recognised for each in found),
    )


def foreign_prompts() -> dict[str, list[str]]:
    """Requests by language, our marked test prompts under `seeds`."""
    found: dict[str, list[str]] = yaml.safe_load(REQUESTS.read_text(encoding="utf-8"))
    found["seeds"] = [seed.prompt for seed in load_seeds("test") if "other-language" in seed.traits]
    return found


def table(found: Sequence[Fate]) -> str:
    """The fates as a Markdown table."""
    lines = [
        "| language | prompts | `languages` | uncertain | misrouted | taken for | recognised |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found:
        taken = ", ".join(f"{name} {n}" for name, n in each.taken_for.items())
        lines.append(
            f"| {each.language} | {each.prompts} | {each.as_languages} | {each.uncertain} | "
            f"{each.misrouted} | {taken} | {each.recognised} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--composition", type=Path, default=Path("routers/compositions/cpu"))
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    composition, encoder = load_composition(options.composition), load_encoder()
    found = [
        fate_of(language, prompts, composition, encoder) for language, prompts in foreign_prompts().items()
    ]
    found.append(total(found))
    sys.stdout.write(table(found) + "\n")
    if options.json:
        write_json([asdict(each) for each in found], options.json)


if __name__ == "__main__":
    main()
