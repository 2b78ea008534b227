"""The client of Coterie's HTTP API, synchronous and asynchronous, for the project's own programs and yours.

Knows the API alone: nothing of how requests are routed or answered. docs/how-to/python-client.md shows it.
"""

from base.retries import NO_RETRIES, RetryPolicy
from client.calls import DEFAULT_URL, ClientTimeouts, base_of, service_base
from client.chat import ChatEvent, ChatReply, Decided, Delta, Ended, Messages, routes
from client.documents import (
    ApiDocument,
    CategoryShare,
    CompositionInfo,
    DecisionRecord,
    ExpertInfo,
    FeedbackRecord,
    IdentityInfo,
    MixtureInfo,
    PriceInfo,
    RankedExpert,
    Readiness,
    ReloadResult,
    RoutingDecision,
    SampleInfo,
    ShadowRecord,
    StrategyTrace,
    TraceStep,
    readable,
)
from client.errors import ApiBadReply, ApiError, ApiRefused, ApiTimeout, ApiUnreachable
from client.http_clients import AsyncClient, Client

__all__ = [
    "DEFAULT_URL",
    "NO_RETRIES",
    "ApiBadReply",
    "ApiDocument",
    "ApiError",
    "ApiRefused",
    "ApiTimeout",
    "ApiUnreachable",
    "AsyncClient",
    "CategoryShare",
    "ChatEvent",
    "ChatReply",
    "Client",
    "ClientTimeouts",
    "CompositionInfo",
    "Decided",
    "DecisionRecord",
    "Delta",
    "Ended",
    "ExpertInfo",
    "FeedbackRecord",
    "IdentityInfo",
    "Messages",
    "MixtureInfo",
    "PriceInfo",
    "RankedExpert",
    "Readiness",
    "ReloadResult",
    "RetryPolicy",
    "RoutingDecision",
    "SampleInfo",
    "ShadowRecord",
    "StrategyTrace",
    "TraceStep",
    "base_of",
    "readable",
    "routes",
    "service_base",
]
