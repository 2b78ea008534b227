"""The registry: what a file may say, and what is said about a wrong one."""

from pathlib import Path

import pytest

from experts.registry import Expert, Registry, RegistryError, UnknownExpert, load_registry

GOOD = """\
experts:
  - name: small
    endpoint: http://127.0.0.1:8101/v1
    model: Small-1B
    params_b: 1
    context_length: 2048
    capabilities: [tools]
    price: {input: 0.1, output: 0.4}
    sampling: {temperature: 0.2, max_tokens: 100}
    api_key_file: keys/small
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "experts.yaml"


def problems(path: Path, text: str) -> list[str]:
    """What is wrong with a file, each without the folder's name."""
    path.write_text(text)
    with pytest.raises(RegistryError) as caught:
        load_registry(path)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix(f"{path.parent}/") for problem in caught.value.problems]


def places(path: Path, text: str) -> list[str]:
    """The line and the field of each mistake."""
    return [":".join(problem.split(":")[1:3]) for problem in problems(path, text)]


def test_a_good_file_becomes_experts(written: Path) -> None:
    written.write_text(GOOD)
    registry = load_registry(written)
    small = registry.get("small")
    assert registry.names == ("small",)
    assert small.active_params_b == 1
    assert small.price.output == 0.4
    assert small.capabilities == {"tools"}
    assert small.api_key_file == written.parent / "keys/small"


def test_an_arm_takes_all_but_its_own_fields_from_its_base(written: Path) -> None:
    written.write_text(
        GOOD.replace(
            "experts:\n",
            "experts:\n"
            "  - {name: friend, base: small, system_prompt: Be kind., sampling: {temperature: 0.9}}\n",
        )
    )
    registry = load_registry(written)
    small, friend = registry.get("small"), registry.get("friend")
    assert registry.names == ("friend", "small")
    assert friend.system_prompt == "Be kind."
    assert friend.sampling == {"temperature": 0.9, "max_tokens": 100}
    same = {"name", "system_prompt", "sampling", "base", "description"}
    assert friend.model_dump(exclude=same) == small.model_dump(exclude=same)


def test_sampling_alone_makes_an_arm_and_merges_template_settings(
    written: Path,
) -> None:
    written.write_text(
        GOOD.replace("max_tokens: 100", "max_tokens: 100, chat_template_kwargs: {a: 1, b: 1}")
        + "    system_prompt: Be kind.\n"
        "  - {name: high, base: small,"
        " sampling: {reasoning_effort: high, max_tokens: 900, chat_template_kwargs: {b: 2}}}\n"
    )
    high = load_registry(written).get("high")
    assert high.system_prompt == "Be kind."
    assert high.sampling == {
        "temperature": 0.2,
        "reasoning_effort": "high",
        "max_tokens": 900,
        "chat_template_kwargs": {"a": 1, "b": 2},
    }
    assert (high.samples, high.select) == (1, None)


def test_the_limit_of_an_arm_replaces_its_base_s_under_whichever_name(written: Path) -> None:
    written.write_text(GOOD + "  - {name: long, base: small, sampling: {max_completion_tokens: 900}}\n")
    assert load_registry(written).get("long").sampling == {"temperature": 0.2, "max_completion_tokens": 900}


def test_the_samples_of_an_arm_are_its_base_s_unless_it_says_its_own(written: Path) -> None:
    written.write_text(
        GOOD.replace("max_tokens: 100", "n: 4") + "    select: logprob\n"
        "  - {name: same, base: small, system_prompt: x}\n"
        "  - {name: more, base: small, sampling: {n: 8}}\n"
        "  - {name: one, base: small, sampling: {n: 1}}\n"
    )
    registry = load_registry(written)
    found = {name: (registry.get(name).samples, registry.get(name).select) for name in registry.names}
    assert found == {"small": (4, "logprob"), "same": (4, "logprob"), "more": (8, None), "one": (1, None)}


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ("sampling: {n: 17}", "sampling: n must be a whole number from 1 to 16"),
        ("sampling: {n: 2.5}", "sampling: n must be"),
        ("sampling: {n: true}", "sampling: n must be"),
        ("sampling: {n: 3, temperature: 0}", "sampling: n samples at temperature 0 are all the same"),
        ("sampling: {n: 3}, select: best", "select: must be one of 'majority' or 'logprob'"),
        ("sampling: {top_p: 1}, select: logprob", "select: needs several samples"),
        ("sampling: {}", "sampling: an arm needs sampling of its own, or one of system_prompt"),
    ],
)
def test_what_an_arm_cannot_be_is_told(written: Path, arm: str, said: str) -> None:
    (problem,) = problems(written, GOOD + f"  - {{name: arm, base: small, {arm}}}\n")
    assert problem.startswith(f"experts.yaml:11: {said}")


def test_choosing_by_log_probability_needs_a_server_that_tells_it(written: Path) -> None:
    text = GOOD.replace("sampling: {", "drop_fields: [logprobs]\n    sampling: {")
    text += "  - {name: arm, base: small, sampling: {n: 3}, select: logprob}\n"
    assert places(written, text) == ["12: select"]


def test_a_local_block_implies_the_endpoint(written: Path) -> None:
    written.write_text(
        "experts: [{name: a, model: A, params_b: 1, context_length: 8,"
        " local: {source: a, port: 8111, max_model_len: 8}}]"
    )
    assert load_registry(written).get("a").endpoint == "http://127.0.0.1:8111/v1"


def test_an_unknown_name_is_answered_with_close_ones(written: Path) -> None:
    written.write_text(GOOD)
    registry = load_registry(written)
    with pytest.raises(UnknownExpert, match="did you mean small"):
        registry.get("smal")
    with pytest.raises(UnknownExpert, match="known: small"):
        registry.get("qqq")


@pytest.mark.parametrize(
    ("right", "wrong", "line", "said"),
    [
        ("params_b: 1", "params_b: -2", 5, "params_b: "),
        ("params_b: 1", "params_b: lots", 5, "params_b: "),
        ("params_b: 1", "params_b: .inf", 5, "params_b: "),
        (
            "params_b: 1\n",
            "parms_b: 1\n    params_b: 1\n",
            5,
            "parms_b: unknown field; did you mean params_b or active_params_b?",
        ),
        (
            "params_b: 1\n",
            "active_params_b: 2\n    params_b: 1\n",
            5,
            "active_params_b: ",
        ),
        ("    params_b: 1\n", "", 2, "params_b: "),
        ("context_length: 2048", "context_length: 20.5", 6, "context_length: "),
        ("[tools]", "[flying]", 7, "capabilities.0: must be one of 'tools', 'vision', 'audio'"),
        ("output: 0.4", "outptu: 0.4", 8, "price.outptu: unknown field; did you mean output?"),
        ("temperature: 0.2", "model: x", 9, "sampling: "),
        ("http://127", "ftp://127", 3, "endpoint: "),
        ("8101/v1", "8101", 3, "endpoint: "),
        (
            "http://",
            "http://me:secret@",
            3,
            "endpoint: ",
        ),
        (
            "    endpoint: http://127.0.0.1:8101/v1\n",
            "",
            2,
            "endpoint: ",
        ),
        ("name: small", "name: coterie", 2, "name: 'coterie'"),
        (
            "api_key_file: keys/small",
            "api_key: sk-12345678",
            10,
            "api_key: ",
        ),
        ("api_key_file: keys/small", "{", 11, "could not find expected ':'"),
        ("params_b: 1\n", "params_b: 1\n    params_b: 2\n", 6, "params_b: "),
        ("api_key_file: keys/small", "tokenizer: missing.json", 10, "tokenizer: "),
        (
            "api_key_file: keys/small",
            "local: {source: a, port: 8101, max_model_len: 99, args: [--tool-call-parser, hermes]}",
            6,
            "context_length: ",
        ),
        (
            "api_key_file: keys/small",
            "local: {source: a, port: 8101, max_model_len: 4096}",
            7,
            "capabilities: ",
        ),
        (
            "api_key_file: keys/small",
            "local: {source: a, port: 9, max_model_len: 4096}",
            3,
            "endpoint: ",
        ),
        (
            "api_key_file: keys/small",
            "local: {source: a, port: 8101, max_model_len: 4096, args: [--api-key=x]}",
            10,
            "local.args: ",
        ),
        (
            "api_key_file: keys/small",
            "local: {source: a, port: 8101, max_model_len: 4096, args: [--dtype=float32]}",
            10,
            "local.args: say --dtype as local.dtype",
        ),
    ],
)
def test_each_mistake_is_told_by_file_and_line(
    written: Path, right: str, wrong: str, line: int, said: str
) -> None:
    assert right in GOOD
    (problem,) = problems(written, GOOD.replace(right, wrong))
    assert problem.startswith(f"experts.yaml:{line}: {said}")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(written: Path) -> None:
    text = GOOD.replace("params_b: 1", "params_b: -1").replace("2048", "none") + (
        "  - {name: friend, base: smal, system_prompt: x}\n  - {name: small, base: small}\n"
    )
    assert places(written, text) == [
        "5: params_b",
        "6: context_length",
        "11: base",
        "12: name",
        "12: sampling",
    ]


def test_an_arm_may_not_change_its_server(written: Path) -> None:
    text = GOOD + "  - {name: friend, base: small, system_prompt: x,\n     params_b: 3}\n"
    assert places(written, text) == ["12: params_b"]


def test_what_is_wrong_with_a_base_is_told_once(written: Path) -> None:
    text = GOOD.replace("params_b: 1", "params_b: -1")
    text += "  - {name: friend, base: small, system_prompt: x}\n"
    assert places(written, text) == ["5: params_b"]


def test_an_arm_over_an_arm_is_refused(written: Path) -> None:
    text = GOOD + "  - {name: a, base: small, system_prompt: x}\n  - {name: b, base: a, sampling: {n: 3}}\n"
    assert problems(written, text) == ["experts.yaml:12: base: 'a' is itself an arm; name its base"]


def test_an_arm_over_nobody_is_refused_with_the_name_that_may_be_meant(written: Path) -> None:
    (problem,) = problems(written, GOOD + "  - {name: a, base: smal, sampling: {reasoning_effort: low}}\n")
    assert problem.startswith("experts.yaml:11: base: ")
    assert "'smal'" in problem
    assert "small" in problem.replace("'smal'", "")


def test_experts_of_one_endpoint_share_its_bounds(written: Path) -> None:
    other = GOOD.removeprefix("experts:\n").replace("name: small", "name: other") + "    max_in_flight: 3\n"
    assert places(written, GOOD + other) == ["20: max_in_flight"]
    assert "other and small" in problems(written, GOOD + other)[0]


@pytest.mark.parametrize("text", ["", "experts: []", "experts: 3", "- a", "experts: [3]", "expert: []"])
def test_a_file_without_experts_is_refused(written: Path, text: str) -> None:
    assert problems(written, text)[0].startswith("experts.yaml:1: ")


def test_a_missing_or_binary_file_is_told(written: Path) -> None:
    with pytest.raises(RegistryError, match="no such file"):
        load_registry(written)
    written.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RegistryError, match="not UTF-8"):
        load_registry(written)


def test_a_pasted_secret_is_never_repeated(written: Path) -> None:
    for field in ("params_b", "api_key", "endpoint", "price", "nonsense"):
        text = f"experts:\n  - {{name: a, model: m, {field}: sk-secret-123456}}\n"
        assert "sk-secret" not in "\n".join(problems(written, text))


@pytest.mark.parametrize("profile", ["tiny", "cpu"])
def test_the_shipped_profiles_load(profile: str) -> None:
    registry = load_registry(Path("experts") / f"{profile}.yaml")
    friend = registry.get("smollm2-friend")
    assert friend.base == "smollm2"
    assert friend.local == registry.get("smollm2").local
    assert ("qwen-coder" in registry.names) == (profile == "cpu")


def test_a_registry_made_in_code_keeps_its_order() -> None:
    experts = [
        Expert(name=name, endpoint="http://h/v1", model="m", params_b=1, context_length=8) for name in "ba"
    ]
    assert Registry.of(*experts).names == ("b", "a")


RESIDENT = """\
residency: {memory_gb: 40, leaves: stopped, key_env: SLEEP_KEY}
experts:
  - name: code
    model: Code-7B
    params_b: 7
    context_length: 2048
    memory_gb: 20
    weights_gb: 15
    local: {source: code, port: 8101, max_model_len: 2048}
  - name: hosted
    endpoint: http://127.0.0.1:8102/v1
    model: Large
    params_b: 70
    context_length: 2048
"""


def test_experts_with_memory_take_turns_in_the_budget_of_the_section(written: Path) -> None:
    written.write_text(RESIDENT)
    registry = load_registry(written)
    assert registry.residency is not None
    assert (registry.residency.memory_gb, registry.residency.leaves) == (40, "stopped")
    assert registry.get("code").memory_gb == 20
    assert registry.get("hosted").memory_gb is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("memory_gb: 40", "memory_gb: 10", "more than the 10 GB of residency.memory_gb"),
        ("memory_gb: 40", "memory_gb: much", "residency.memory_gb: must be a number"),
        ("leaves: stopped", "leaves: asleep", "residency.leaves: must be one of 'level1', 'level2'"),
        ("key_env: SLEEP_KEY", "key: hidden", "name an environment variable in key_env"),
        ("key_env: SLEEP_KEY", "batch: 3", "unknown field; did you mean batch_s?"),
        ("    memory_gb: 20\n    weights_gb: 15\n", "", "so none takes turns"),
        ("weights_gb: 15", "weights_gb: 25", "weights_gb: cannot be more than memory_gb"),
        ("8102/v1", "8102/v1\n    memory_gb: 5", "needs a `local` block"),
        ("8102/v1", "8101/v1", "share a server and must have the same memory_gb"),
    ],
)
def test_what_is_wrong_with_residency_is_told(written: Path, old: str, new: str, said: str) -> None:
    found = problems(written, RESIDENT.replace(old, new))
    assert any(said in each for each in found), found
    assert "hidden" not in str(found)


def test_replicas_are_further_servers_of_the_same_model(written: Path) -> None:
    further = "    replicas: [http://h2:1/v1/, https://h3/v1]\n    hedge: {after_s: 2}\n"
    written.write_text(GOOD + further + "  - {name: friend, base: small, system_prompt: Be kind.}\n")
    friend = load_registry(written).get("friend")
    assert friend.endpoints == ("http://127.0.0.1:8101/v1", "http://h2:1/v1", "https://h3/v1")
    assert friend.at("https://h3/v1").endpoint == "https://h3/v1"
    assert friend.at(friend.endpoint) is friend


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("replicas: [http://h2/]", "replicas: must end in /v1"),
        ("replicas: [h2]", "replicas: must be an http:// or https:// URL"),
        ("replicas: [http://me:secret@h2/v1]", "replicas: must hold no user, password, query or fragment"),
        ("replicas: [http://127.0.0.1:8101/v1]", "replicas: must be different servers"),
        ("replicas: [http://h2/v1, http://h2/v1]", "replicas: must be different servers"),
        ("replicas: [http://h2/v1]\n    memory_gb: 8", "replicas: are for experts that are always loaded"),
        ("hedge: {after_s: 2}", "hedge: needs `replicas`"),
        ("hedge: {after: 2}", "hedge.after: unknown field"),
    ],
)
def test_a_wrong_replica_is_named_with_its_line(written: Path, field: str, said: str) -> None:
    found = problems(written, f"{GOOD}    {field}\n")
    assert any(each.startswith("experts.yaml:11: ") and said in each for each in found), found
    assert "secret" not in "".join(found)


def test_experts_behind_one_server_have_the_same_replicas(written: Path) -> None:
    other = GOOD.split("\n", 1)[1].replace("small", "other").replace("8101", "8102")
    found = problems(written, GOOD + "    replicas: [http://127.0.0.1:8102/v1]\n" + other)
    assert len(found) == 1
    assert "other and small share an endpoint and must have the same endpoint and replicas" in found[0]
