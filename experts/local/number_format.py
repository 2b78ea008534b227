"""The number format and the weights of a model that is served without a GPU: by the processor, unless the
registry says otherwise, and within the memory that is free."""

from dataclasses import dataclass, replace

from experts.expert import Dtype, LocalServer, Weights
from experts.local.errors import Cause, ServerError
from experts.local.machine import Machine

BFLOAT16_FEATURES = ("amx_bf16", "avx512_bf16")
"""Features that multiply bfloat16 natively. Without one each product is converted to float32 and back."""
INT8_FEATURES = ("amx_int8", "avx512_vnni")
"""Features that multiply signed bytes exactly. Without one sums of two products saturate at 16 bits."""
NUMBER_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
MEMORY_FACTOR = 2
"""Memory of a server for each byte of weights: they are packed for the processor while the original is still
held. Measured with bfloat16: 8.9 GB for 3.6 GB of weights and 1.1 GB of cache."""
ENGINE_BYTES = 10**9
"""Memory of a server's processes beside weights and cache."""


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """`dtype`: vLLM's `--dtype`; `weights`: int8 where they are quantized; `reasons`: why, for people."""

    dtype: Dtype
    weights: Weights | None = None
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        weights = f", weights in {self.weights}" if self.weights else ""
        dtype = "the number format that vLLM chooses" if self.dtype == "auto" else self.dtype
        return f"computes in {dtype}{weights} ({'; '.join(self.reasons)})"


def number_format(local: LocalServer, machine: Machine) -> NumberFormat:
    """The format for `local` on a `machine` without a GPU, whatever memory there is.

    float32 on AVX-512 without BF16 is by reasoning, not measured: like AVX2, it has no products of bfloat16.
    """
    dtype, reason = _dtype(local, machine.features)
    if local.weights is None:
        return NumberFormat(dtype, None, (reason,))
    if machine.features is None or not machine.features.intersection(INT8_FEATURES):
        refused = f"no {local.weights} weights, which need {' or '.join(INT8_FEATURES)}"
        return NumberFormat(dtype, None, (reason, refused))
    return NumberFormat(dtype, local.weights, (reason, "local.weights of the registry"))


def fit_memory(
    chosen: NumberFormat, server: str, local: LocalServer, weights: int | None, available: int | None
) -> NumberFormat:
    """`chosen`, or bfloat16 where float32 was chosen by the processor and has too little room.

    `weights`: bytes of the model's safetensors; `available`: bytes of memory. Nothing is checked where one of
    them is not known.

    Raises:
        ServerError: the registry asks for float32, and there is too little room for it.
    """
    if chosen.dtype != "float32" or weights is None or available is None:
        return chosen
    needed = needed_bytes(weights, local, chosen)
    if needed <= available:
        return chosen
    short = f"float32 needs about {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are free"
    if local.dtype is not None:
        advice = "free some, or set local.dtype: bfloat16, which needs about half"
        raise ServerError(server, Cause.OUT_OF_MEMORY, f"{short}: {advice}")
    return replace(chosen, dtype="bfloat16", reasons=(*chosen.reasons, f"{short}: slower, but it fits"))


def needed_bytes(weights: int, local: LocalServer, chosen: NumberFormat) -> int:
    """An estimate of the memory of a server whose safetensors have `weights` bytes: two for each number, or
    one where they are quantized."""
    numbers = weights if chosen.weights else weights * NUMBER_BYTES.get(chosen.dtype, 2) // 2
    return MEMORY_FACTOR * numbers + round(local.kv_cache_gib * 2**30) + ENGINE_BYTES


def _dtype(local: LocalServer, features: frozenset[str] | None) -> tuple[Dtype, str]:
    """The format and the reason for it."""
    if local.dtype is not None:
        return local.dtype, "local.dtype of the registry"
    if features is None:
        return "auto", "the processor's features are not known"
    for feature in BFLOAT16_FEATURES:
        if feature in features:
            return "bfloat16", f"the processor has {feature}"
    for feature in ("avx512f", "avx2"):
        if feature in features:
            return "float32", f"the processor has {feature}, and neither of {', '.join(BFLOAT16_FEATURES)}"
    return "auto", "the processor has no avx2"
