"""What a server cannot take of a request, as the registry says it or as the server's refusals do.

A refusal is read for fields that the server does not know and for rules of its chat template. Only what
changes little is left out: never tools, messages, the form of an answer (`response_format`, `output_config`)
or its limit. `LearnedAdaptations` is what was learned of each server; all else is pure.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from experts.errors import ContextTooLong, ExpertError, ExpertRejected
from experts.message_rules import MessageRule, follow

LimitField = Literal["max_tokens", "max_completion_tokens"]
LIMIT_FIELDS: tuple[LimitField, LimitField] = ("max_tokens", "max_completion_tokens")

IN_MESSAGES = "messages[]."
IN_TOOLS = "tools[]."
"""Prefixes of names of fields in every message (or part of one), and in every tool (or its function)."""

DROPPABLE = frozenset(
    [
        "add_generation_prompt",
        "chat_template_kwargs",
        "client_metadata",
        "context_management",
        "continue_final_message",
        "enable_thinking",
        "frequency_penalty",
        "include",
        "include_reasoning",
        "metadata",
        "min_p",
        "modalities",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "reasoning_effort",
        "repetition_penalty",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "stream_options",
        "temperature",
        "thinking",
        "top_k",
        "top_p",
        "truncation",
        "user",
        "verbosity",
        *(
            f"{IN_MESSAGES}{name}"
            for name in (
                "annotations",
                "audio",
                "cache_control",
                "name",
                "provider_specific_fields",
                "reasoning",
                "reasoning_content",
                "reasoning_details",
                "reasoning_items",
                "refusal",
                "thinking_blocks",
            )
        ),
        *(f"{IN_TOOLS}{name}" for name in ("cache_control", "strict")),
    ]
)
"""Fields that may be left out when a server does not know them."""
MAX_READ_CHARACTERS = 1_500
"""Characters of a refusal that are read: some milliseconds of work."""
MAX_ADAPTATIONS = 8
"""Times that one request is asked again."""

_UNKNOWN = re.compile(
    r"extra[_ ](?:inputs|fields|forbidden)|unrecogni[sz]ed|not recogni[sz]ed|unknown|unsupported|unexpected"
    r"|do(?:es)?(?: not|n't) support|not (?:supported|permitted|allowed|available|a valid)|cannot find field"
    r"|only the default",
    re.IGNORECASE,
)
_WRONG_VALUE = re.compile(
    r"supported values|must be (?:one of|between|less|greater|at )|expected one of", re.I
)
"""The field is known, its value is wrong: the client's mistake."""
_CONDITIONAL = re.compile(r"only (?:allowed|supported|valid|available|permitted) (?:when|if|with)\b", re.I)
"""The field is known and cannot stand here: `metadata` without `store`. The next request may be another."""
_BEFORE_NAME = r"(?:argument|parameter|param|propert(?:y|ies)|field|name|key|input)s?\b[^.;\n]{0,40}?"
_AFTER_NAME = r"\s*(?:[:\n]|is |was |\(type=)"

_SYSTEM = r"system (?:message|prompt|role|instruction)s?"
_SYSTEM_FIRST = re.compile(
    rf"{_SYSTEM}\b.{{0,40}}\b(?:must|should|only|can|has to)\b.{{0,40}}\b(?:begin|beginning|first|start)\b"
    r"|(?:initial|optional) system (?:message|prompt)|unexpected role '?system'? after",
    re.IGNORECASE | re.DOTALL,
)
_NO_SYSTEM = re.compile(
    rf"{_SYSTEM}\b.{{0,30}}\b(?:not supported|unsupported|not allowed|not permitted)"
    r"|(?:does not|doesn't) support .{0,20}system|only user(?:,)? (?:and )?(?:assistant|model).{0,20}roles?"
    r"|unexpected role .?system|unknown variant .?system|system is not one of",
    re.IGNORECASE | re.DOTALL,
)
_ALTERNATE = re.compile(
    r"roles? must alternate|must alternate between|alternat\w+ (?:between )?.?user|multiple consecutive"
    r"|consecutive .{0,20}(?:user|assistant|roles)|first message must .{0,40}user"
    r"|unexpected role '?user'? after",
    re.IGNORECASE | re.DOTALL,
)
_TEXT = re.compile(
    r"content.{0,60}(?:must be|should be|expected|valid|type).{0,20}\bstring"
    r"|invalid type: sequence, expected a string|can only concatenate str",
    re.IGNORECASE | re.DOTALL,
)
_CONTENT = re.compile(
    r"content.{0,60}(?:none is not an allowed|null|none|required|must not be empty|valid string)"
    r"|invalid type: null, expected a string|NoneType",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Adaptations:
    """Changes of a request that a server needs: fields left out, rules for messages, the limit's name."""

    drop: frozenset[str] = frozenset()
    rules: frozenset[MessageRule] = frozenset()
    limit: LimitField | None = None

    def __or__(self, other: "Adaptations") -> "Adaptations":
        """Both; of the limit's names the other's, if it has one."""
        if not other or not self:
            return self or other
        return Adaptations(self.drop | other.drop, self.rules | other.rules, other.limit or self.limit)

    def __bool__(self) -> bool:
        return bool(self.drop or self.rules or self.limit)

    def __len__(self) -> int:
        return len(self.drop) + len(self.rules) + bool(self.limit)

    def __iter__(self) -> Iterator[str]:
        """Their names, for a log: a field, a rule, or the limit."""
        yield from sorted(self.drop | self.rules)
        if self.limit:
            yield self.limit

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """`body` as the server can take it."""
        if not self:
            return dict(body)
        out = {name: value for name, value in body.items() if name not in self.drop}
        if self.limit is not None:
            given = [out.pop(name) for name in LIMIT_FIELDS if out.get(name) is not None]
            out |= {self.limit: min(given)} if given else {}
        if isinstance(messages := out.get("messages"), list):
            out["messages"] = without(follow(self.rules, messages), self._inner(IN_MESSAGES), "content")
        if isinstance(tools := out.get("tools"), list):
            out["tools"] = without(tools, self._inner(IN_TOOLS), "function")
        return out

    def _inner(self, prefix: str) -> frozenset[str]:
        return frozenset(name.removeprefix(prefix) for name in self.drop if name.startswith(prefix))


NOTHING = Adaptations()


def without(documents: list[Any], names: Collection[str], inside: str) -> list[Any]:
    """`documents` without the fields `names`, in them and in what their field `inside` holds."""
    return [_without(each, names, inside) for each in documents] if names else documents


def _without(document: Any, names: Collection[str], inside: str) -> Any:
    if not isinstance(document, Mapping):
        return document
    out = {name: value for name, value in document.items() if name not in names}
    inner = out.get(inside)
    if isinstance(inner, list):
        out[inside] = [_without(each, names, "") for each in inner]
    elif isinstance(inner, Mapping):
        out[inside] = _without(inner, names, "")
    return out


def read_refusal(
    status: int,
    said: str,
    param: str | None,
    sent: Mapping[str, Any],
    known: Adaptations = NOTHING,
    *,
    chat: bool = True,
) -> Adaptations:
    """What a server's refusal of `sent` asks for that is not `known`; nothing when trying again would not
    help. `said` is its message, `param` the field that it names; not `chat`: only fields can be left out."""
    said = said[:MAX_READ_CHARACTERS]
    rules = _rules(said, sent, known) if chat else frozenset()
    if rules or status >= 500:
        # A failing template is a 500 of some servers; all else of that kind is no question of the request.
        return Adaptations(rules=rules)
    if chat and (limit := _limit(said, param, sent, known)):
        return Adaptations(limit=limit)
    if conditional := _CONDITIONAL.search(said):
        said = said[: conditional.start()]
    elif not _UNKNOWN.search(said) or (_WRONG_VALUE.search(said) and "extra" not in said.lower()):
        return NOTHING
    return Adaptations(
        frozenset(name for name in DROPPABLE - known.drop if _refused(name, said, param, sent))
    )


def _rules(said: str, sent: Mapping[str, Any], known: Adaptations) -> frozenset[MessageRule]:
    messages = [each for each in sent.get("messages") or () if isinstance(each, Mapping)]
    roles = [message.get("role") for message in messages]
    found: set[MessageRule] = set()
    if _ALTERNATE.search(said):
        found.add("alternating_roles")
        if "alternating_roles" in known.rules:
            found.add("no_system")
    later = "system" in roles[1:]
    if (_SYSTEM_FIRST.search(said) or "alternating_roles" in found) and later:
        found.add("system_first")
    elif _NO_SYSTEM.search(said) and not _SYSTEM_FIRST.search(said):
        found.add("no_system")
    if not found and _SYSTEM_FIRST.search(said) and "system_first" in known.rules:
        found.add("no_system")
    if not found and _TEXT.search(said) and any(isinstance(each.get("content"), list) for each in messages):
        found.add("text_content")
    if not found and _CONTENT.search(said) and any(each.get("content") is None for each in messages):
        found.add("content_required")
    if "no_system" in found and "system" not in roles:
        found.discard("no_system")
    return frozenset(found - known.rules)


def _limit(said: str, param: str | None, sent: Mapping[str, Any], known: Adaptations) -> LimitField | None:
    """The other name of the limit, where the one that was sent is unknown."""
    if known.limit is not None or not _UNKNOWN.search(said):
        return None
    for name, other in (LIMIT_FIELDS, LIMIT_FIELDS[::-1]):
        if sent.get(name) is None or not (param == name or re.search(rf"\b{name}\b", said)):
            continue
        if param == name or _names(name, said) or re.search(rf"use\W+{other}", said, re.IGNORECASE):
            return other
    return None


def _refused(name: str, said: str, param: str | None, sent: Mapping[str, Any]) -> bool:
    """Whether the refusal names this field, and the request has it."""
    prefix, plain = "", name
    for each in (IN_MESSAGES, IN_TOOLS):
        if name.startswith(each):
            prefix, plain = each, name.removeprefix(each)
    if not prefix:
        return plain in sent and (param == plain or _names(plain, said))
    outer = prefix.removesuffix("[].")
    if not any(_has(each, plain) for each in sent.get(outer) or ()):
        return False
    # `name` is in many messages, and `messages` in most that mean a field of one.
    placed = outer in said or (param or "").startswith(outer)
    return _names(plain, said) and (placed or plain not in sent)


def _has(document: Any, name: str) -> bool:
    if isinstance(document, list):
        return any(_has(each, name) for each in document)
    if not isinstance(document, Mapping):
        return False
    return name in document or any(_has(document.get(each), name) for each in ("content", "function"))


def _names(name: str, said: str) -> bool:
    """Whether a message is about the field `name`: `Unknown parameter: 'store'`, `body.store: Extra inputs
    are not permitted`, `('body', 'store')`. Many names are words, so that the word alone does not tell."""
    word = re.escape(name)
    # Groq and xAI write some names in camel case.
    camel = re.sub(r"_(\w)", lambda found: found[1].upper(), name)
    word = f"(?:{word}|{camel})"
    # Where a place may begin, or go on after a step of it.
    place = r"(?:^|[;\n]\s*|\. |\bbody -> \**|[\w\]]\.)"
    return any(
        re.search(pattern, said, re.IGNORECASE)
        for pattern in (
            rf"{_BEFORE_NAME}(?<![\w.]){word}(?![\w-])",
            rf"{place}{word}['\"`*]*{_AFTER_NAME}",
            rf"['\"]body['\"], (?:[^)\]]*, )?['\"]{word}['\"]",
            rf"(?<!\w)['\"`]{word}['\"`]\s*(?:is |was |does |parameter|argument|property|field)",
        )
    )


Server = tuple[str | None, str, str]
"""Endpoint, model and dialect: prompt experts share what was learned of their base."""


class LearnedAdaptations:
    """What refusals have taught of each server, in memory."""

    def __init__(self, on_learned: Callable[[str, str], None] = lambda expert, name: None) -> None:
        """`on_learned` is told the expert, and the field, rule or limit."""
        self._on_learned = on_learned
        self._found: dict[Server, Adaptations] = {}

    def of(self, server: Server) -> Adaptations:
        return self._found.get(server, NOTHING)

    def add(self, server: Server, expert: str, found: Adaptations) -> None:
        """Remember. Servers are as many as the registry has, and what they can teach is a closed list."""
        known = self.of(server)
        self._found[server] = known | found
        news = {*found} - {*known}
        for name in sorted(news):
            self._on_learned(expert, name)


class AdaptedRequest:
    """One request, asked again while its refusals teach something. What helped is remembered."""

    def __init__(self, learned: LearnedAdaptations, server: Server, expert: str) -> None:
        self._learned = learned
        self._server = server
        self._expert = expert
        self._found = NOTHING
        self._once = NOTHING
        """What helps this request and says nothing of the next."""
        self._left = MAX_ADAPTATIONS

    @property
    def adaptations(self) -> Adaptations:
        """What is known of the server by now."""
        return self._learned.of(self._server) | self._found | self._once

    def learns(self, status: int, said: str, param: str | None, sent: Mapping[str, Any]) -> bool:
        """Whether asking again may help, after a refusal of `sent` as for `read_refusal`."""
        if not self._left:
            return False
        chat = self._server[2] == "chat"
        found = read_refusal(status, said, param, sent, self.adaptations, chat=chat)
        self._left -= 1
        if _CONDITIONAL.search(said):
            self._once |= found
        else:
            self._found |= found
        return bool(found)

    def learns_from(self, error: ExpertError, sent: Mapping[str, Any]) -> bool:
        """`learns`, of an expert's failure."""
        if isinstance(error, ContextTooLong) or not error.said:
            return False
        param = error.error.get("param") if isinstance(error, ExpertRejected) else None
        return self.learns(error.status, error.said, param, sent)

    def succeeded(self) -> None:
        if self._found:
            self._learned.add(self._server, self._expert, self._found)
