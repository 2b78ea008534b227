"""What the service can be told from outside: environment variables that start with `COTERIE_`.

Every queue, pool, wait and size of the service has its bound here. Experts have their own in the
registry (`experts/*.yaml`). Knows nothing of how a value is used.
"""

import hashlib
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from base.text_files import TextFileError, read_text

if TYPE_CHECKING:
    from limits import RateLimitItem

PROJECT = Path(__file__).resolve().parent.parent

MEGABYTE = 1024 * 1024


class ApiKey(NamedTuple):
    """A caller's key, kept as a digest; `label` is what logs, rules and decisions show."""

    label: str
    digest: bytes


class Settings(BaseSettings):
    """The service's settings. `COTERIE_PORT=9000` sets `port`, and so on for every field."""

    model_config = SettingsConfigDict(
        env_prefix="COTERIE_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    profile: str = "cpu"
    """Names the shipped pair of registry and composition; `experts` and `composition` override it."""
    experts: Path = Path()
    """The registry file; default: experts/<profile>.yaml."""
    composition: Path = Path()
    """The composition's folder; default: routers/compositions/<profile>."""
    rules: Path | None = None
    """A file of operator's rules (YAML; docs/how-to/write-rules.md shows one): keywords, patterns,
    languages, headers or API keys that name an expert or a category. Read again at every reload."""
    strategy: str = "single"
    """The strategy of requests for which neither the client nor the composition nor a rule names one:
    `single`, `chain`, a policy by name or id, or one of `strategies`."""
    strategies: str | None = None
    """A user's own strategies: `module:attribute`, separated by commas."""
    strategy_options: dict[str, dict[str, Any]] = {}
    """Options by strategy, as JSON: `{"panel": {"size": 5}}`. A request's own go before them."""
    data: Path = Path("var")
    """Run-time data: the embedded database, answers of evaluations and logs."""
    database_url: SecretStr | None = None
    """SQLAlchemy URL (postgresql+psycopg://…); default: an SQLite file in `data`."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    """Processes that serve; one a core. Above 1 they share one port, and conversations, quotas, metrics and
    reloads hold for all of them together."""
    console_host: str = "127.0.0.1"
    console_port: int = Field(8501, ge=0, le=65535)

    api_keys: SecretStr | None = None
    """`label:key` pairs, separated by commas or new lines; a key alone gets a label. Without keys
    the API is open."""
    api_keys_file: Path | None = None
    """A file with one `label:key` a line; `#` starts a comment."""
    cors_origins: str | None = None
    """Origins whose web pages may call the API from a browser, separated by commas: `https://chat.example.org`;
    `*` for all. Without it browsers keep pages of other origins out."""
    escalations: str | None = None
    """How many escalations a key has in a moving window of time: `20/hour`, `100 per day`, `5/10 minutes`;
    default: any. An escalation is a request that a strategy of several experts answers, or one expert that
    costs more than `escalation_baseline` would. Without keys all callers share one quota."""
    escalation_baseline: str | None = None
    """The expert above whose price an answer is an escalation; default: the cheapest of the composition."""
    escalations_over: Literal["limit", "refuse"] = "limit"
    """What becomes of an escalation above the quota: `limit` has the best expert within the baseline's price
    answer (reason `limited`), `refuse` answers 429. An expert that the client named is never replaced."""
    store_prompts: bool = False
    """Keep the text of requests with their decisions, of shadow answers, and responses for later requests to
    go on from."""

    explore: float = Field(0.0, ge=0, le=1)
    """Share of requests that an expert drawn at random answers, so that `coterie eval offpolicy` can tell
    what another composition would have scored; 0 explores nothing."""
    explore_seed: int = 0
    """Seed of exploration and of shadow samples."""
    alternative: str | None = None
    """The one expert that costs are compared with, in decisions and `coterie savings`; default: the best for
    everything by the composition's utilities."""
    shadow_rate: float = Field(0.0, ge=0, le=1)
    """Share of answered requests that other experts answer too, after the client has its answer."""
    shadow_experts: str | None = None
    """Names of the experts to ask, separated by commas; default: all that could have answered."""
    shadow_tokens_per_day: int = Field(1_000_000, ge=0)
    """Tokens that shadow answers may cost in a day (UTC); beyond it they are dropped."""
    shadow_price_per_day: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Dollars that shadow answers may cost in a day (UTC), by the prices in the registry."""
    shadow_queue: int = Field(100, ge=1)
    """Shadow answers waiting to be asked for; beyond it they are dropped, and recorded as dropped."""
    shadow_concurrency: int = Field(1, ge=1, le=64)
    """Shadow answers asked for at once."""
    shadow_max_tokens: int = Field(1_024, ge=1)
    """Longest shadow answer, for requests that set no limit of their own."""

    encoder: Path | None = None
    """The encoder's folder; default: the one in the cache."""
    encoder_precision: Literal["int8", "float32"] = "int8"
    encoder_threads: int = Field(1, ge=1, le=64)
    encoder_cache: int = Field(4_096, ge=0, le=1_000_000)
    """Texts whose encoded states are remembered, 3.5 kB each, so that a repeated task is not encoded again;
    the one that was asked longest ago gives way. Digests are kept, no text. 0: none."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"

    max_body_bytes: int = Field(8 * MEGABYTE, ge=1024)
    """Larger request bodies are refused with 413."""
    routing_threads: int = Field(1, ge=1, le=64)
    """Worker threads that encode and decide."""
    routing_queue: int = Field(512, ge=1)
    """Requests that may wait for a routing thread; beyond it 503."""
    token_cache: int = Field(20_000, ge=1)
    """Counts of tokens that are remembered: a growing conversation counts only what is new."""
    counting_queue: int = Field(64, ge=1)
    """Long requests that may wait for their tokens to be counted; beyond it bounds stand for the count."""
    tokenize_s: float = Field(1.0, gt=0)
    """How long an expert's server may take to count tokens (`/tokenize`)."""
    embedding_inputs: int = Field(2_048, ge=1)
    """Texts in one request for embeddings."""
    embedding_s: float = Field(60.0, gt=0)
    """How long the router's encoder may take for one request for embeddings."""
    spill_tries: int = Field(2, ge=0, le=16)
    """Further experts to try when the chosen one is unavailable before its first byte."""
    strategy_max_calls: int = Field(8, ge=2, le=100)
    """Calls to experts that a strategy may make for one request."""
    strategy_max_tokens: int = Field(32_768, ge=1)
    """Tokens of prompts and answers, over all these calls."""
    strategy_max_s: float = Field(300.0, gt=0)
    """Seconds that a strategy may take for one request."""
    strategy_max_cost: float | None = Field(None, ge=0)
    """US dollars that it may spend, by the registry's prices; default: any."""
    conversations: int = Field(10_000, ge=1)
    """Conversations whose expert is remembered in memory; older ones are read from storage."""
    conversation_idle_s: float = Field(3_600.0, gt=0)
    """Seconds without an answer after which the router is free to choose anew in a conversation, since prefix
    caches are gone by then. An open tool call still goes to the expert that made it."""
    record_queue: int = Field(5_000, ge=1)
    """Decisions and feedback waiting to be written; beyond it requests wait."""
    record_batch: int = Field(1_000, ge=1, le=10_000)
    """Most rows in one transaction, under load; else it takes what comes in a tenth of a second."""
    record_flush_s: float = Field(30.0, gt=0)
    """How long a stop may wait for a database that does not answer."""
    ready_check_s: float = Field(2.0, gt=0)
    """How long /readyz waits for the database."""
    stop_grace_s: float = Field(20.0, ge=0)
    """How long a stop waits for answers in flight."""
    keep_alive_s: int = Field(30, ge=1)
    """How long an idle client connection is kept."""

    @model_validator(mode="before")
    @classmethod
    def _profile_defaults(cls, values: dict[str, object]) -> dict[str, object]:
        profile = values.get("profile") or "cpu"
        values.setdefault("experts", PROJECT / "experts" / f"{profile}.yaml")
        values.setdefault("composition", PROJECT / "routers" / "compositions" / str(profile))
        return values

    @model_validator(mode="after")
    def _keys_are_readable(self) -> Self:
        self.keys  # noqa: B018 - parsed here so that a malformed key list fails at start
        return self

    @model_validator(mode="after")
    def _rate_is_readable(self) -> Self:
        self.escalation_rate  # noqa: B018 - as above
        return self

    @model_validator(mode="after")
    def _origins_are_origins(self) -> Self:
        for origin in self.origins:
            url = urlsplit(origin)
            if origin != "*" and (not url.hostname or origin != f"{url.scheme}://{url.netloc}"):
                raise ValueError(
                    f"COTERIE_CORS_ORIGINS: {origin[:80]!r} is no origin (scheme://host:port) or *"
                )
        return self

    @property
    def database(self) -> str:
        """The SQLAlchemy URL, password included: never log it."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data / 'coterie.db'}"

    @cached_property
    def keys(self) -> tuple[ApiKey, ...]:
        """The API keys of both sources; a bare key gets the label `key-<n>`."""
        lines: list[str] = []
        if self.api_keys is not None:
            lines += self.api_keys.get_secret_value().replace(",", "\n").splitlines()
        if self.api_keys_file is not None:
            try:
                lines += read_text(self.api_keys_file).splitlines()
            except TextFileError as error:
                raise ValueError(f"COTERIE_API_KEYS_FILE: {error}") from None
        found: dict[str, ApiKey] = {}
        for line in lines:
            entry = line.strip()
            if not entry or entry.startswith("#"):
                continue
            label, separator, key = entry.partition(":")
            if not separator:
                label, key = f"key-{len(found) + 1}", entry
            label, key = label.strip(), key.strip()
            if not label or not key:
                raise ValueError("an API key needs a label and a key: label:key")
            if label in found:
                raise ValueError(f"two API keys have the label {label[:40]!r}")
            found[label] = ApiKey(label, hashlib.sha256(key.encode()).digest())
        return tuple(found.values())

    @cached_property
    def escalation_rate(self) -> "RateLimitItem | None":
        """`escalations`, read."""
        if self.escalations is None:
            return None
        from limits import parse_many

        try:
            (rate,) = parse_many(self.escalations)
        except ValueError:
            rate = None
        if rate is None or rate.amount < 1:
            raise ValueError(
                f"COTERIE_ESCALATIONS: {self.escalations[:80]!r} is no rate such as 20/hour or 5/10 minutes"
            )
        return rate

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins in `cors_origins`."""
        given = (self.cors_origins or "").replace(",", " ").split()
        return tuple(each.removesuffix("/") for each in given)

    @property
    def own_strategies(self) -> tuple[str, ...]:
        """The places in `strategies`."""
        places = (self.strategies or "").replace(",", "\n").splitlines()
        return tuple(place.strip() for place in places if place.strip())

    @property
    def open_to_the_network(self) -> bool:
        """Bound to more than loopback, without any API key."""
        return not self.keys and not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a bind address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
