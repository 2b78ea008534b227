"""What is known of replicas now: load, health, outliers, the conversation's own."""

from typing import Any

import numpy as np

from experts.circuit import HealthSettings
from experts.errors import ExpertBadReply, ExpertBusy, ExpertUnavailable
from experts.expert import Expert
from experts.replicas.ejection import outliers
from experts.replicas.pool import STALE_S, Asked, ReplicaPool, Sent, replica_id
from experts.replicas.server_metrics import ServerLoad, read_metrics

GONE = ExpertUnavailable("a", "Expert a refused the connection.")
LONG, OTHER = tuple(range(100)), tuple(range(1000, 1100))


def pool(replicas: int = 2, **fields: Any) -> ReplicaPool:
    urls = [f"http://replica-{number}/v1" for number in range(replicas)]
    defaults = {"name": "a", "model": "m", "params_b": 1, "context_length": 8}
    expert = Expert.model_validate({**defaults, "endpoint": urls[0], "replicas": urls[1:]})
    return ReplicaPool(expert, HealthSettings(**fields))


def sent(to: ReplicaPool, blocks: tuple[int, ...] = (), **fields: Any) -> Sent:
    found = to.pick(Asked("m", blocks, **fields), np.ones(len(to), bool))
    assert found is not None
    return found


def test_the_same_prompt_goes_where_it_was_read() -> None:
    replicas = pool(5)
    first = sent(replicas, LONG)
    replicas.began(first, "m", first_token=True)
    replicas.ended(first)
    for session in range(20):
        again = sent(replicas, LONG, session=session)
        assert (again.number, again.unread) == (first.number, 1.0)
        replicas.ended(again)


def test_a_busy_replica_gives_way_when_waiting_costs_more_than_reading() -> None:
    replicas = pool()
    first = sent(replicas, LONG)
    for number in range(6):
        sent(replicas, (*LONG, *range(2000 + 100 * number, 2100 + 100 * number)))
    numbers = {sent(replicas, LONG, session=each).number for each in range(10)}
    assert numbers == {0, 1}
    assert first.number in numbers


def test_the_conversations_replica_is_kept_though_our_record_has_nothing_of_it() -> None:
    """After a restart, or where another process began it."""
    replicas = pool(4)
    own = replicas.ids[2]
    found = {sent(replicas, LONG, session=each, replica=own, share=0.9).number for each in range(3)}
    assert found == {2}


def test_what_only_one_replica_can_go_on_with_waits_for_it() -> None:
    replicas = pool()
    free = np.array([True, False])
    held = Asked("m", LONG, replica=replicas.ids[1], held=True)
    assert replicas.pick(held, free) is None
    replicas.failed(sent(replicas, LONG, replica=replicas.ids[1], held=True), "m", GONE)
    assert sent(replicas, replica=replicas.ids[1], held=True).number == 1


def test_a_replica_that_refuses_connections_is_out_until_a_check_and_forgets_its_cache() -> None:
    replicas = pool()
    first = sent(replicas, LONG)
    replicas.failed(first, "m", GONE)
    replicas.ended(first)
    assert replicas.usable("m").tolist() == [number != first.number for number in range(2)]
    assert sent(replicas, LONG).number != first.number
    replicas.checked(first.number, None, (), begun=float("inf"))
    assert replicas.usable("m").all()
    assert sent(replicas, OTHER, replica=replicas.ids[first.number], share=0).unread == 100


def test_a_failure_of_one_model_leaves_the_others_of_the_server() -> None:
    replicas = pool()
    replicas.failed(sent(replicas, replica=replicas.ids[0], held=True), "m", GONE)
    assert replicas.usable("m").tolist() == [False, True]
    assert replicas.usable("adapter").all()


def test_a_check_that_fails_and_a_model_that_is_not_served_take_a_replica_out() -> None:
    replicas = pool()
    replicas.checked(0, GONE, (), 0.0)
    replicas.checked(1, None, ("m",), 0.0)
    assert replicas.usable("m").tolist() == [False, True]
    assert [each.detail for each in replicas.states("other")] == [
        GONE.message,
        "Its server does not serve other.",
    ]
    assert sent(replicas).number == 1


def test_when_all_are_out_they_are_asked_all_the_same_but_not_twice() -> None:
    replicas = pool()
    for number in range(2):
        replicas.checked(number, GONE, (), 0.0)
    first = sent(replicas)
    assert sent(replicas, tried={first.number}).number != first.number


def test_a_server_that_asks_to_wait_rests() -> None:
    replicas = pool()
    busy = ExpertBusy("a", "full")
    busy.retry_after_s = 60
    replicas.failed(sent(replicas, replica=replicas.ids[1], held=True), "m", busy)
    assert replicas.usable("m").tolist() == [True, False]


def test_one_that_fails_more_than_the_others_is_ejected_and_never_more_than_half() -> None:
    replicas = pool(4, failures_to_trip=1000)
    bad = ExpertBadReply("a", "rubbish")
    for _ in range(30):
        for number in range(4):
            each = sent(replicas, replica=replicas.ids[number], held=True)
            if number == 0:
                replicas.failed(each, "m", bad)
            else:
                replicas.began(each, "m", first_token=False)
            replicas.ended(each)
    assert [each.ejected for each in replicas.states("m")] == [True, False, False, False]
    assert replicas.usable("m").tolist() == [False, True, True, True]


def test_outliers_are_few_the_worst_first_and_judged_on_enough() -> None:
    many, none = np.full(4, 20.0), np.full(4, np.nan)
    assert outliers(np.array([0.9, 0.9, 0.9, 0]), none, many) == []
    assert outliers(np.array([0.9, 0.5, 0, 0]), none, many) == [0, 1]
    assert outliers(np.array([0.9, 0.5, 0, 0]), none, many, out=[2]) == [0]
    assert outliers(np.array([0.9, 0.5, 0, 0]), none, many, out=[2, 3]) == []
    assert outliers(np.array([0.9, 0, 0, 0]), none, np.array([5.0, 20, 20, 20])) == []
    assert outliers(np.zeros(4), np.array([1.0, 1.1, 9.0, 0.9]), many) == [2]
    assert outliers(np.zeros(2), np.array([1.0, 9.0]), many[:2]) == [1]
    assert outliers(np.zeros(1), np.array([9.0]), many[:1]) == []


def test_reported_load_counts_without_our_own_requests() -> None:
    replicas = pool()
    ours = sent(replicas, replica=replicas.ids[0], held=True)
    replicas.told(0, ServerLoad(running=1, waiting=0))
    replicas.told(1, ServerLoad(running=5, waiting=2))
    assert sent(replicas, LONG).number == 0
    replicas.ended(ours)
    assert [each.running for each in replicas.states("m")] == [1, 5]


def test_an_old_report_of_load_counts_no_more() -> None:
    now = [100.0]
    expert = Expert(
        name="a", endpoint="http://a/v1", replicas=("http://b/v1",), model="m", params_b=1, context_length=8
    )
    replicas = ReplicaPool(expert, clock=lambda: now[0])
    replicas.told(0, ServerLoad(running=50))
    assert {sent(replicas, session=each).number for each in range(8)} == {1}
    now[0] += STALE_S + 1
    assert {sent(replicas, session=each).number for each in range(8)} == {0, 1}


def test_an_adapter_draws_its_requests_to_where_it_is_loaded() -> None:
    replicas = pool()
    replicas.told(0, ServerLoad(adapters=frozenset()))
    replicas.told(1, ServerLoad(adapters=frozenset({"m"})))
    assert {sent(replicas, session=each).number for each in range(5)} == {1}


def test_the_record_is_as_large_as_the_servers_cache() -> None:
    replicas = pool()
    replicas.told(0, ServerLoad(kv_tokens=1280))
    sent(replicas, LONG, replica=replicas.ids[0], held=True)
    assert sent(replicas, LONG, replica=replicas.ids[0], held=True).unread == 90


def test_metrics_of_vllm_are_read() -> None:
    load = read_metrics(
        "# TYPE vllm:num_requests_running gauge\n"
        'vllm:num_requests_running{engine="0",model_name="m"} 3.0\n'
        'vllm:num_requests_running{engine="1",model_name="m"} 1.0\n'
        'vllm:num_requests_waiting{engine="0",model_name="m"} 2.0\n'
        'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25\n'
        'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="100"} 1.0\n'
        'vllm:lora_requests_info{max_lora="2",running_lora_adapters="old",waiting_lora_adapters=""} 10.0\n'
        'vllm:lora_requests_info{max_lora="2",running_lora_adapters="a,b",waiting_lora_adapters="c"} 20.0\n'
        "vllm:request_success_total 7\n"
    )
    assert load == ServerLoad(4, 2, 0.25, 1600, frozenset({"a", "b", "c"}))
    assert read_metrics("http_requests_total 3\n") is None


def test_a_replicas_id_follows_its_address() -> None:
    assert replica_id("http://a/v1") == replica_id("http://a/v1") != replica_id("http://b/v1")
