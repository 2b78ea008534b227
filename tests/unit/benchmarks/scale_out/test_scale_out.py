"""The simulated fleet: costs near what others measured, queues as theory has them, and nothing lost."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale_out.__main__ import BEGIN, END, main
from benchmarks.scale_out.cluster import Cluster, Outcome, Replica
from benchmarks.scale_out.costs import CostsMissing, Served, pool, router_costs
from benchmarks.scale_out.fleet import TooFewGpus, experts, fleet
from benchmarks.scale_out.routers import smallest, waits
from benchmarks.scale_out.sharing import shared
from benchmarks.scale_out.traffic import Shape, Traffic, shares, traffic

LLAMA = Served("llama-3.1-8b", 8.03, 8.03, 2.0, 131e3, 1)
SHAPE = Shape()


def requests(at: list[float], prompt: int, answer: int, conversation: list[int] | None = None) -> Traffic:
    """Requests to one expert, without a system prompt."""
    count = len(at)
    numbers = np.arange(count) if conversation is None else np.array(conversation)
    known = np.zeros(count, int)
    fresh, answers = np.full(count, prompt), np.full(count, answer)
    return Traffic(np.array(at), np.zeros(count, int), numbers, numbers, known, fresh, answers, 0)


def alone(asked: Traffic, policy: str = "random", replicas: int = 1, end_s: float = 100.0) -> Outcome:
    return Cluster([[Replica(LLAMA) for _ in range(replicas)]], policy).run(asked, 0.0, end_s)


# Costs


def test_one_stream_takes_what_was_measured_on_an_h100() -> None:
    # 6.48 ms a token: yobitelcomm.github.io/bench/recipes/concurrency-sweep
    assert LLAMA.step_s(1, 500) == pytest.approx(6.48e-3, rel=0.05)


def test_a_hundred_streams_are_no_slower_than_was_measured_of_the_whole_server() -> None:
    # 4,741 tokens/s of gpt-oss-120b on two H100 with 100 in flight, their prompts included: morphllm.com
    rate = 100 / pool()["reasoner"].step_s(100, 100_000)
    assert 4_741 < rate < 1.6 * 4_741


def test_a_larger_batch_makes_more_tokens_and_each_slower() -> None:
    for model in pool().values():
        steps = [model.step_s(batch, 1_000 * batch) for batch in (1, 8, 64, 256)]
        assert steps == sorted(steps)
        rates = [batch / step for batch, step in zip((1, 8, 64, 256), steps, strict=True)]
        assert rates == sorted(rates)


def test_the_services_costs_are_those_of_its_page(tmp_path: Path) -> None:
    routed, named = router_costs("Coterie, routed"), router_costs("Coterie, named")
    assert routed.request_s > named.request_s > 0
    page = tmp_path / "page.md"
    page.write_text("| Coterie, routed | 8.91 | 9.8 | 46 | 40 |\n")
    found = router_costs("Coterie, routed", page)
    assert (found.request_s, found.chunk_s) == pytest.approx((8.91e-3, 0.0445e-3))
    with pytest.raises(CostsMissing, match="Coterie, named"):
        router_costs("Coterie, named", page)


# Traffic


def test_requests_come_at_the_rate_and_to_the_experts_that_were_asked_for() -> None:
    made = traffic(200.0, 60.0, 10, SHAPE, seed=1)
    assert len(made) / 60 == pytest.approx(200, rel=0.1)
    assert (np.diff(made.at_s) >= 0).all()
    counts = np.bincount(made.expert, minlength=10) / len(made)
    assert counts == pytest.approx(shares(10, SHAPE.skew), abs=0.03)


def test_a_turn_knows_what_was_said_before_it() -> None:
    made = traffic(50.0, 60.0, 3, SHAPE, seed=2)
    last: dict[int, tuple[int, int]] = {}
    seen = 0
    for number in range(len(made)):
        conversation = int(made.conversation[number])
        if conversation in last:
            known, said = last[conversation]
            assert int(made.known[number]) == known + said
            seen += 1
        last[conversation] = int(made.known[number]), int(made.fresh[number] + made.answer[number])
    assert seen > 100


# Replicas


def test_a_request_alone_takes_its_prompt_and_its_steps() -> None:
    found = alone(requests([1.0], 1_000, 101))
    assert found.first(50) == pytest.approx(1_000 / LLAMA.prompt_tokens_s)
    assert found.pace(50) == pytest.approx(LLAMA.step_s(1, 1_050))


def test_prompts_are_read_one_after_the_other() -> None:
    found = alone(requests([1.0, 1.0, 1.0], 10_000, 10))
    prompt = 10_000 / LLAMA.prompt_tokens_s
    assert sorted(found.first_token_s) == pytest.approx([prompt, 2 * prompt, 3 * prompt])


def test_answers_pause_while_a_prompt_is_read() -> None:
    undisturbed = alone(requests([1.0], 100, 200)).token_s[0]
    disturbed = alone(requests([1.0, 1.5], 100, 200)).token_s[0]
    assert disturbed > undisturbed


def test_affinity_reads_a_conversation_once() -> None:
    asked = requests([1.0, 50.0], 1_000, 10, conversation=[7, 7])
    asked.known[1], asked.fresh[1] = 1_010, 100
    by_policy = {policy: alone(asked, policy, replicas=8) for policy in ("affinity", "load")}
    assert by_policy["affinity"].read_again == 0
    assert by_policy["affinity"].first_token_s[1] == pytest.approx(100 / LLAMA.prompt_tokens_s)
    assert by_policy["load"].first_token_s[1] > by_policy["affinity"].first_token_s[1]


def test_a_fleet_that_is_asked_too_much_shows_it() -> None:
    asked = requests(list(np.linspace(0, 60, 6_000)), 2_000, 200)
    assert alone(asked, end_s=60.0).first(99) == np.inf
    assert alone(asked, "load", replicas=40, end_s=60.0).first(99) < 1.0


# The fleet, its front and its memory


def test_replicas_follow_the_demand_and_every_expert_has_one() -> None:
    models = experts(50)
    found = fleet(models, 1_000, SHAPE)
    assert min(found.replicas) >= 1
    assert 996 < found.gpus <= 1_000
    assert found.replicas[0] > found.replicas[-1]
    with pytest.raises(TooFewGpus, match="need 75 GPUs"):
        fleet(models, 74, SHAPE)


def test_waits_are_those_of_a_queue() -> None:
    assert waits(np.array([0.0, 1.0, 1.5, 9.0]), 2.0) == pytest.approx([0, 1, 2.5, 0])
    # M/D/1 at half load waits half of its service on average.
    arrivals = np.cumsum(np.random.default_rng(0).exponential(2.0, 200_000))
    assert waits(arrivals, 1.0).mean() == pytest.approx(0.5, rel=0.03)


def test_the_front_is_as_large_as_its_waits_ask_for() -> None:
    costs = router_costs("Coterie, routed")
    roomy, tight = (smallest(500, 200, costs, wait, 10) for wait in (0.05, 0.01))
    assert roomy.wait_p99_s <= 0.05 and tight.wait_p99_s <= 0.01
    assert roomy.processes < tight.processes
    assert tight.busy == pytest.approx(500 * costs.answer_s(200) / tight.processes)


def test_experts_that_share_memory_wait_less_when_they_only_sleep() -> None:
    asleep = shared(experts(10), 8, 1.0, 150, "level1", SHAPE)
    stopped = shared(experts(10), 8, 1.0, 150, "stopped", SHAPE)
    assert asleep.mean_wait_s < stopped.mean_wait_s


def test_the_program_writes_its_tables_and_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "scale.md"
    page.write_text(f"# Scale\n{BEGIN}\n{END}\n")
    assert main(["--small", "--page", str(page)]) == 0
    assert capsys.readouterr().out.strip() in page.read_text()
    assert (tmp_path / "images" / "scale.png").stat().st_size > 10_000
