import pytest

from experts.expert import LocalServer
from experts.local.errors import Cause, ServerError
from experts.local.machine import Machine
from experts.local.number_format import NumberFormat, fit_memory, number_format

BF16 = frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16"})
GB = 10**9


def local(**facts: object) -> LocalServer:
    return LocalServer.model_validate({"source": "org/m", "port": 8101, "max_model_len": 2048, **facts})


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"sse4_2"}, "auto"),
        ({"avx2"}, "float32"),
        ({"avx2", "avx512f", "avx512_vnni"}, "float32"),
        ({"avx2", "avx512f", "avx512_bf16"}, "bfloat16"),
        ({"avx2", "avx512f", "amx_bf16"}, "bfloat16"),
        (None, "auto"),
    ],
)
def test_the_format_is_bfloat16_where_the_processor_multiplies_it(
    features: set[str] | None, dtype: str
) -> None:
    machine = Machine(None if features is None else frozenset(features))
    assert number_format(local(), machine).dtype == dtype


def test_the_registry_overrides_the_processor_and_the_reason_says_so() -> None:
    chosen = number_format(local(dtype="float32"), Machine(BF16))
    assert (chosen.dtype, "local.dtype" in str(chosen)) == ("float32", True)


@pytest.mark.parametrize("feature", ["avx512_vnni", "amx_int8"])
def test_int8_weights_are_kept_where_the_processor_adds_them_exactly(feature: str) -> None:
    chosen = number_format(local(weights="int8"), Machine(frozenset({"avx2", "avx512f", feature})))
    assert chosen.weights == "int8"


@pytest.mark.parametrize("features", [{"avx2"}, {"avx2", "avx_vnni"}, None])
def test_int8_weights_are_off_and_it_is_said_elsewhere(features: set[str] | None) -> None:
    machine = Machine(None if features is None else frozenset(features))
    chosen = number_format(local(weights="int8"), machine)
    assert chosen.weights is None
    assert "no int8 weights" in str(chosen)


def test_nothing_is_quantized_unasked() -> None:
    assert number_format(local(), Machine(BF16)).weights is None


def test_float32_that_does_not_fit_becomes_bfloat16_and_says_why() -> None:
    chosen = number_format(local(), Machine(frozenset({"avx2"})))
    fitted = fit_memory(chosen, "a", local(), 4 * GB, 10 * GB)
    assert fitted.dtype == "bfloat16"
    assert "10.0 GB are free" in str(fitted)
    assert fit_memory(chosen, "a", local(), 4 * GB, 100 * GB) == chosen


@pytest.mark.parametrize(("weights", "available"), [(None, 1), (4 * GB, None)])
def test_what_is_not_known_is_not_taken_for_too_little(weights: int | None, available: int | None) -> None:
    chosen = NumberFormat("float32")
    assert fit_memory(chosen, "a", local(), weights, available) == chosen


def test_float32_that_the_registry_asks_for_is_refused_where_it_does_not_fit() -> None:
    asked = local(dtype="float32")
    with pytest.raises(ServerError, match=r"a: float32 needs about .* local\.dtype: bfloat16") as caught:
        fit_memory(number_format(asked, Machine(BF16)), "a", asked, 4 * GB, 10 * GB)
    assert caught.value.cause is Cause.OUT_OF_MEMORY
