"""An expert's registry entry. Secrets are only named (`api_key_env`, `api_key_file`); `experts.credentials`
reads them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, NonNegativeInt, field_validator, model_validator
from pydantic_core import PydanticCustomError

from base.json_documents import json_digest
from base.strict_model import StrictModel
from experts.adaptations import Adaptations, LimitField
from experts.message_rules import MessageRule
from prompts.templates import PromptOrigin

Capability = Literal["tools", "vision", "audio", "video", "files", "json_schema", "embeddings"]
DialectName = Literal["chat", "responses", "messages", "completions"]
"""What clients and servers of language models speak: OpenAI's chat completions, responses and (text)
completions, Anthropic's messages."""

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
"""vLLM's `--dtype`; `auto` leaves the choice to it."""
Weights = Literal["int8"]

Selection = Literal["majority", "logprob"]
"""How several samples become one answer: by their final answers, or by the mean log-probability."""

RESERVED_SAMPLING = frozenset({"model", "messages", "stream", "routing"})
"""Request fields that an expert's defaults may not set."""
MOST_SAMPLES = 16


class Price(StrictModel):
    """US dollars per million tokens; None unknown. `cached_input`: of prompt tokens that a prefix cache
    held, by default as much as the others."""

    input: float | None = Field(default=None, ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    output: float | None = Field(default=None, ge=0)


class Timeouts(StrictModel):
    """Seconds. `first_byte_s`: queueing, and then waiting for the first streamed event; `idle_s`: between two
    chunks of a stream; `total_s`: the whole request, the only bound without streaming."""

    connect_s: float = Field(default=5.0, gt=0)
    first_byte_s: float = Field(default=120.0, gt=0)
    idle_s: float = Field(default=60.0, gt=0)
    total_s: float = Field(default=600.0, gt=0)


class LocalServer(StrictModel):
    """A vLLM server that `experts.local` supervises.

    `source`: a shipped model (`experts.local.model_sources`), a hub repository or a folder; `args` are
    appended to vLLM's command line. CPU: `kv_cache_gib`, `threads` (without it vLLM pins a thread to every
    core, which is best for a server alone on its machine), `weights` (int8: quantized from a shipped model,
    where the processor has the instructions). `dtype`: None means by the processor on a CPU, vLLM's choice on
    a GPU. GPU: `gpus` (tensor parallel over these device
    numbers), `gpu_memory_utilization` (0..1).
    """

    source: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    max_model_len: int = Field(gt=0)
    kv_cache_gib: float = Field(default=1.0, gt=0)
    threads: int | None = Field(default=None, gt=0)
    dtype: Dtype | None = None
    weights: Weights | None = None
    gpus: tuple[NonNegativeInt, ...] = ()
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    args: tuple[str, ...] = ()

    @field_validator("args")
    @classmethod
    def _no_own_words(cls, args: tuple[str, ...]) -> tuple[str, ...]:
        if any(arg.split("=")[0] in {"--api-key", "--hf-token"} for arg in args):
            raise PydanticCustomError("secret_in_yaml", "secrets never go into YAML or a command line")
        if any(arg.split("=")[0] == "--dtype" for arg in args):
            raise PydanticCustomError("dtype_in_args", "say --dtype as local.dtype")
        return args


class Hedge(StrictModel):
    """A second replica is asked when the first has not begun to answer after `after_s` seconds; the one that
    begins first goes on, the other is cancelled. At most `share` (0..1) of the requests are asked twice."""

    after_s: float = Field(gt=0)
    share: float = Field(default=0.05, gt=0, le=0.5)


class IdentitySource(StrictModel):
    """Expert identities (ExpertPrompting, arXiv 2305.14688), used in the categories where `file` records a
    measured gain: `per` category from `file`, or `per` request, which costs one call more."""

    file: Path
    """Relative to the folder of the registry file."""
    per: Literal["category", "request"] = "category"


class Expert(StrictModel):
    """An LLM behind an endpoint, or (with `base`) an arm: the same LLM with a system prompt, library prompt,
    mixture of prompts, expert identities or sampling of its own."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    provider: Literal["openai", "litellm"] = "openai"
    endpoint: str | None = None
    """Base URL ending in `/v1`; for `litellm` optional."""
    replicas: tuple[str, ...] = ()
    """Base URLs of further servers of the same model."""
    hedge: Hedge | None = None
    model: str = Field(min_length=1)
    """Name sent to the server; for `litellm` with provider prefix: `anthropic/<model>`."""
    params_b: float = Field(gt=0)
    """Parameters in billions."""
    active_params_b: float = Field(default_factory=lambda said: float(said["params_b"]), gt=0)
    """Active parameters per token, in billions; by default `params_b`."""
    context_length: int = Field(gt=0)
    """Tokens of prompt and answer together."""
    tokenizer: Path | None = None
    """A `tokenizer.json` or a folder with one and its chat template; relative to the folder of the registry
    file. By default the one of the `local` model, once it is fetched."""
    tokenize: bool = True
    """Whether the server may be asked at `/tokenize` where there is no tokenizer file."""
    capabilities: frozenset[Capability] = frozenset()
    dialects: frozenset[Literal["responses", "messages", "completions"]] = frozenset()
    """What its server speaks beside chat completions: such requests are passed on as they came."""
    price: Price = Price()
    drop_fields: frozenset[str] = frozenset()
    """Request fields that its server refuses; `messages[].NAME` and `tools[].NAME` are fields inside."""
    message_rules: frozenset[MessageRule] = frozenset()
    """What its chat template asks of messages."""
    limit_field: LimitField | None = None
    """The one name that its server knows for the limit of an answer."""
    sampling: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Default request fields; an arm's take precedence over its base's. `n`: samples behind one answer."""
    select: Selection | None = None
    """How `sampling.n` samples become one answer; majority where nothing is said."""
    system_prompt: str | None = None
    prompt: PromptOrigin | None = None
    """In YAML `name@version` of the library, or a file; rendered into `system_prompt`."""
    variables: Mapping[str, JsonValue] = Field(default_factory=dict)
    """Values of the variables of `prompt`."""
    mixture: Path | None = None
    """The folder of a mixture of prompts; relative to the folder of the registry file."""
    identity: IdentitySource | None = None
    base: str | None = None
    description: str = ""
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    api_key_file: Path | None = None
    """A file with only the key; relative to the folder of the registry file."""
    timeouts: Timeouts = Timeouts()
    max_in_flight: int = Field(default=64, gt=0)
    """At each of its servers."""
    max_queued: int = Field(default=256, ge=0)
    memory_gb: float | None = Field(default=None, gt=0)
    """What its server takes of the memory while it is loaded. Where the registry has a `residency` section,
    it takes turns with others."""
    weights_gb: float | None = Field(default=None, ge=0)
    """Of it, what sleep level 1 keeps in host memory; by default all."""
    local: LocalServer | None = None

    @property
    def samples(self) -> int:
        """The samples behind one answer."""
        n = self.sampling.get("n")
        return n if isinstance(n, int) else 1

    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on beside its model and what a request puts in front; the system prompt as
        a digest."""
        prompt = self.system_prompt
        return {
            "sampling": dict(self.sampling),
            "select": (self.select or "majority") if self.samples > 1 else None,
            "system_prompt": None if prompt is None else json_digest(prompt)[:16],
            "weights": self.local.weights if self.local is not None else None,
        }

    @property
    def adaptations(self) -> Adaptations:
        """How its server's requests differ from the client's, as far as the registry says."""
        return Adaptations(self.drop_fields, self.message_rules, self.limit_field)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Of all its servers."""
        return self.replicas if self.endpoint is None else (self.endpoint, *self.replicas)

    def at(self, endpoint: str | None) -> "Expert":
        """It as one replica serves it."""
        return self if endpoint == self.endpoint else self.model_copy(update={"endpoint": endpoint})

    def speaks(self, dialect: DialectName) -> bool:
        """Whether its server does; all speak chat completions."""
        return dialect == "chat" or dialect in self.dialects

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        local = filled.get("local")
        if filled.get("endpoint") is None and isinstance(local, dict) and isinstance(local.get("port"), int):
            filled["endpoint"] = f"http://127.0.0.1:{local['port']}/v1"
        return filled

    @field_validator("name")
    @classmethod
    def _not_ours(cls, name: str) -> str:
        if name == "coterie":
            raise PydanticCustomError("reserved", "'coterie' is the model name that routes")
        return name

    @field_validator("endpoint")
    @classmethod
    def _plain_endpoint(cls, endpoint: str | None) -> str | None:
        return None if endpoint is None else _plain_url(endpoint)

    @field_validator("replicas")
    @classmethod
    def _plain_replicas(cls, replicas: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_plain_url(each) for each in replicas)

    @field_validator("sampling")
    @classmethod
    def _defaults_only(cls, sampling: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        if taken := sorted(RESERVED_SAMPLING & sampling.keys()):
            raise PydanticCustomError("reserved", "cannot set {fields}", {"fields": ", ".join(taken)})
        n = sampling.get("n", 1)
        if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MOST_SAMPLES:
            raise PydanticCustomError(
                "samples", "n must be a whole number from 1 to {most}", {"most": MOST_SAMPLES}
            )
        return MappingProxyType(dict(sampling))

    @field_validator("drop_fields")
    @classmethod
    def _needed_fields_stay(cls, fields: frozenset[str]) -> frozenset[str]:
        if needed := sorted(RESERVED_SAMPLING & fields):
            raise PydanticCustomError("reserved", "cannot leave out {fields}", {"fields": ", ".join(needed)})
        return fields

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self._agree_with_provider()
        if self.active_params_b > self.params_b:
            raise _misfit("active_params_b", "cannot be more than params_b")
        self._agree_on_samples()
        for field in ("mixture", "identity"):
            if getattr(self, field) is not None and self.base is None:
                raise _misfit(field, "needs a base: the expert that it is put in front of")
        if self.api_key_env and self.api_key_file:
            raise _misfit("api_key_file", "give api_key_env or api_key_file, not both")
        if self.local is not None:
            self._agree_with_local(self.local)
        self._agree_on_memory()
        self._agree_on_replicas()
        return self

    def _agree_on_memory(self) -> None:
        if self.weights_gb is not None and self.weights_gb > (self.memory_gb or 0.0):
            raise _misfit("weights_gb", "cannot be more than memory_gb")
        if self.memory_gb is not None and self.provider != "openai":
            raise _misfit("memory_gb", "is for provider openai: others are not ours to load")

    def _agree_on_samples(self) -> None:
        if self.samples == 1:
            if self.select is not None:
                raise _misfit("select", f"needs several samples: set sampling.n to 2 to {MOST_SAMPLES}")
        elif self.sampling.get("temperature") == 0:
            raise _misfit("sampling", "n samples at temperature 0 are all the same: set temperature above 0")
        elif self.select == "logprob" and "logprobs" in self.drop_fields:
            raise _misfit("select", "logprob needs log-probabilities, which drop_fields leaves out")

    def _agree_with_provider(self) -> None:
        if self.provider == "openai":
            if self.endpoint is None:
                raise _misfit("endpoint", "is required (or a `local` block, which implies it)")
            if not self.endpoint.endswith("/v1"):
                raise _misfit("endpoint", "must end in /v1")
        elif self.dialects:
            raise _misfit("dialects", "are for provider openai: LiteLLM speaks chat completions")
        elif self.local is not None:
            raise _misfit("local", "is for provider openai: local servers speak OpenAI's protocol")

    def _agree_on_replicas(self) -> None:
        if not self.replicas:
            if self.hedge is not None:
                raise _misfit("hedge", "needs `replicas`: it asks a second one")
            return
        if self.provider != "openai":
            raise _misfit("replicas", "are for provider openai")
        if not all(each.endswith("/v1") for each in self.replicas):
            raise _misfit("replicas", "must end in /v1")
        if len(set(self.endpoints)) < len(self.endpoints):
            raise _misfit("replicas", "must be different servers, and other ones than `endpoint`")
        if self.memory_gb is not None:
            raise _misfit("replicas", "are for experts that are always loaded, without memory_gb")

    def _agree_with_local(self, local: LocalServer) -> None:
        if self.context_length > local.max_model_len:
            raise _misfit("context_length", "cannot be more than local.max_model_len")
        if urlsplit(self.endpoint or "").port != local.port:
            raise _misfit("endpoint", "must have the port of local.port")
        if "tools" in self.capabilities and not any(
            arg.split("=")[0] == "--tool-call-parser" for arg in local.args
        ):
            raise _misfit("capabilities", "tools need --tool-call-parser in local.args")


def _plain_url(endpoint: str) -> str:
    try:
        url = urlsplit(endpoint)
        _ = url.port
    except ValueError:
        raise PydanticCustomError("endpoint", "is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise PydanticCustomError("endpoint", "must be an http:// or https:// URL")
    if url.username or url.password or url.query or url.fragment:
        raise PydanticCustomError(
            "endpoint", "must hold no user, password, query or fragment; keys go into api_key_env"
        )
    return endpoint.rstrip("/")


def _misfit(field: str, message: str) -> PydanticCustomError:
    """An error of a whole-model validator that the registry attributes to `field`."""
    return PydanticCustomError("misfit", "{what}", {"field": field, "what": message})
