"""The report: one page that needs nothing else, whose numbers lead to their items."""

import re
from pathlib import Path
from typing import Any

import pytest

from eval.engine.items import ItemLog, ItemTurn, RunItem, write_verdicts
from eval.engine.manifest import ITEMS, VERDICTS, Manifest, RunFolder, save_manifest
from eval.reports.page import page
from eval.reports.results import mean_interval, results_of
from eval.reports.write import write_report


def item(number: int, contestant: str, rating: float | None) -> RunItem:
    judgment: dict[str, Any] = {
        "judge": "j",
        "scale": "rating",
        "text": "why",
        "attempts": 1,
        "turn": 1,
        "game": 1,
    }
    judgment |= {"rating": rating} if rating is not None else {}
    return RunItem(
        question=f"q {number}",
        category=("writing", "math", "r&d")[number % 3],
        contestant=contestant,
        score=rating / 10 if rating is not None else None,
        turns=(
            ItemTurn(
                prompt="Is <b>1 < 2</b>?",
                answer="<script>alert(1)</script>",
                completion_tokens=3,
                latency_s=0.2,
                routing={"expert": "small", "reason": "matched", "category": "math"}
                if contestant == "coterie"
                else None,
            ),
        ),
        verdicts=(
            {"question_id": str(number), "model": contestant, "turn": 1, "score": rating, "judge": "j"},
        ),
        judgments=(judgment,),
        unparsed=int(rating is None),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    expert = {"name": "small", "active_params_b": 0.5, "params_b": 0.5}
    manifest = Manifest(
        id="r1",
        benchmark="mt-bench",
        created_at="2026-01-01T00:00:00+00:00",
        command=("eval", "run", "mt-bench"),
        contestants=(
            {"name": "coterie", "model": "coterie", "identity": {"composition": "c", "experts": [expert]}},
            {"name": "small", "model": "small", "identity": {"expert": expert}},
        ),
        protocol={"mode": "single", "turns": 1, "judges": [{"name": "j", "model": "j", "prompts": "own"}]},
        questions=6,
    )
    items = [
        item(n, name, None if (n, name) == (5, "small") else 2.0 + n)
        for n in range(6)
        for name in ("coterie", "small")
    ]
    with ItemLog(tmp_path / ITEMS) as log:
        for each in items:
            log.add(each)
    write_verdicts(items, tmp_path / VERDICTS)
    save_manifest(manifest, tmp_path)
    return RunFolder(tmp_path, manifest)


def test_every_link_leads_to_something_on_the_page(run: RunFolder) -> None:
    text = write_report(run, results_of(run)).read_text()

    targets = set(re.findall(r'id="([^"]+)"', text))
    links = re.findall(r'href="#([^"]+)"', text)
    assert len(links) > 20
    assert not [link for link in links if link not in targets]
    # Ids are percent-encoded as links are: decoded, those with a blank would open nothing.
    assert any("%20" in link for link in links)
    assert "decodeURIComponent" not in text


def test_the_page_needs_nothing_else_and_reads_no_answer_as_html(run: RunFolder) -> None:
    text = write_report(run, results_of(run)).read_text()

    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", text)
    assert "<script>alert" not in text
    assert "Is &lt;b&gt;1 &lt; 2&lt;/b&gt;?" in text


def test_it_shows_scores_categories_ratings_judges_and_the_command(run: RunFolder) -> None:
    results = results_of(run)
    text = page(run.manifest, results, [])

    assert text.count("<svg") == 3
    for part in ("Scores", "By category", "Ratings", "Judges", "coterie eval run mt-bench", "answered by"):
        assert part in text
    coterie, small = results["contestants"]
    assert (coterie["n"], coterie["missing"], coterie["experts"]) == (6, 0, {"small": 6})
    assert coterie["active_params_b"] == small["active_params_b"] == 0.5
    assert (small["n"], small["missing"], small["unparsed"]) == (5, 1, 1)
    assert results["ratings"]["kind"] == "graded"
    assert any("not MT-Bench's protocol" in note for note in results["notes"])
    assert any("1 of 12 judgments" in note for note in results["notes"])


def test_the_same_run_gives_the_same_page(run: RunFolder) -> None:
    assert write_report(run, results_of(run)).read_text() == write_report(run, results_of(run)).read_text()


def test_a_run_without_an_item_has_a_page_too(tmp_path: Path, run: RunFolder) -> None:
    (run.folder / ITEMS).write_text("")
    (run.folder / VERDICTS).unlink()

    text = write_report(run, results_of(run)).read_text()
    assert "<h2>Items</h2>" in text
    assert "<th>answered and marked</th>" in text


def test_an_interval_needs_two_values() -> None:
    assert mean_interval([]) == (None, None, None)
    assert mean_interval([0.5]) == (0.5, None, None)
    mean, low, high = mean_interval([0.0, 1.0] * 50)
    assert mean == 0.5
    assert low is not None and high is not None
    assert 0.38 < low < 0.45 < 0.55 < high < 0.62
