"""Adapter for providers that are not OpenAI-compatible, through LiteLLM.

LiteLLM (seconds, 150 MB) is loaded in a thread on first use or by `load`, without network calls, output and
prompt logging. Results are chat completions, SSE bytes or our errors, as for other experts.
"""

import asyncio
import contextlib
import functools
import json
import logging
import os
import re
import warnings
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from pydantic import SecretStr

from experts.credentials import read_api_key
from experts.errors import ExpertBadReply, ExpertError, ExpertTimeout, ExpertUnavailable
from experts.expert import Expert
from experts.refusals import refusal, retry_after_in

FIELDS = frozenset(
    [
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    ]
)
"""Request fields that clients may pass to LiteLLM; others control LiteLLM itself (`api_base` could send our
key anywhere) and are accepted only from an expert's `sampling`."""


@functools.cache
def _litellm() -> Any:
    """LiteLLM, silenced. Raises `ImportError` when the extra is not installed."""
    for name in ("MODEL_COST_MAP", "ANTHROPIC_BETA_HEADERS", "BLOG_POSTS", "POLICY_TEMPLATES"):
        os.environ[f"LITELLM_LOCAL_{name}"] = "True"  # each is a download otherwise
    os.environ.setdefault("LITELLM_LOG", "CRITICAL")
    import litellm

    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.telemetry = False
    # Clients do not choose the provider, so unsupported parameters are not their error.
    litellm.drop_params = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # Its types emit warnings when first built.
        warnings.simplefilter("ignore")
        litellm.ModelResponse()
        litellm.ModelResponseStream()
    return litellm


async def load(expert: Expert) -> Any:
    """LiteLLM, loaded in a thread. Raises `ExpertUnavailable` naming the extra to install."""
    try:
        return await asyncio.to_thread(_litellm)
    except ImportError as error:
        raise ExpertUnavailable(
            expert.name, f"Expert {expert.name} needs LiteLLM: pip install 'coterie[litellm]'."
        ) from error


async def complete(expert: Expert, body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion for an outgoing body. Raises `ExpertError`."""
    litellm = await load(expert)
    secret = read_api_key(expert)
    try:
        answer = await litellm.acompletion(**_arguments(expert, body, secret))
    except Exception as error:
        # `from None`: LiteLLM's messages repeat keys and prompts.
        raise _mapped(expert, error, secret) from None
    whole: dict[str, Any] = answer.model_dump(mode="json", exclude_none=True)
    for choice in whole.get("choices", []):
        _tidy(choice, "message")
        choice.get("message", {}).setdefault("content", None)
    return whole


async def stream(expert: Expert, body: Mapping[str, Any]) -> AsyncGenerator[bytes]:
    """A streamed chat completion as SSE events. Closing it closes the connection."""
    litellm = await load(expert)
    secret = read_api_key(expert)
    answered = False
    try:
        chunks = await litellm.acompletion(**_arguments(expert, body, secret))
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                event = chunk.model_dump(mode="json", exclude_none=True)
                choices = event.get("choices", [])
                for choice in choices:
                    _tidy(choice, "delta")
                    answered = answered or bool(choice["delta"])
                    if choice["finish_reason"] == "stop" and not answered:
                        # LiteLLM ends streams that it cannot parse as if they were complete.
                        raise ExpertBadReply(expert.name, f"Expert {expert.name} sent an empty answer.")
                if event.get("usage") and not any(each["delta"] or each["finish_reason"] for each in choices):
                    event["choices"] = []  # as OpenAI has it; LiteLLM sends an empty choice beside the usage
                yield b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
    except ExpertError:
        raise
    except Exception as error:
        mapped = _mapped(expert, error, secret)
        if answered and not isinstance(mapped, ExpertTimeout):
            mapped = ExpertBadReply(expert.name, f"Expert {expert.name} stopped in the middle of its answer.")
        raise mapped from None
    yield b"data: [DONE]\n\n"


async def aclose() -> None:
    """Close LiteLLM's connections, if any."""
    if not _litellm.cache_info().currsize:
        return
    from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

    await close_litellm_async_clients()
    # A later event loop must not reuse closed clients.
    _litellm().in_memory_llm_clients_cache.flush_cache()
    vars(_litellm()).pop("module_level_aclient", None)


def _arguments(expert: Expert, body: Mapping[str, Any], secret: SecretStr | None) -> dict[str, Any]:
    allowed = {name: value for name, value in body.items() if name in FIELDS and value is not None}
    operators = {name: value for name, value in expert.sampling.items() if name not in FIELDS}
    return {
        **allowed,
        **operators,
        "model": expert.model,
        "api_base": expert.endpoint,
        # None lets LiteLLM read the provider's own variable, such as ANTHROPIC_API_KEY.
        "api_key": secret.get_secret_value() if secret is not None else None,
        "timeout": expert.timeouts.total_s,
        # Retries are the service's decision.
        "num_retries": 0,
        "max_retries": 0,
        # Its MCP gateway would run tools here.
        "_skip_mcp_handler": True,
    }


def _tidy(choice: dict[str, Any], part: str) -> None:
    """OpenAI's exact shape: always a `finish_reason`, no fields of LiteLLM."""
    choice.setdefault("finish_reason", None)
    choice.setdefault(part, {}).pop("provider_specific_fields", None)


def _mapped(expert: Expert, error: Exception, secret: SecretStr | None) -> ExpertError:
    """LiteLLM's exception as one of ours, by class and HTTP status."""
    litellm = _litellm()
    said = _said(error)
    if isinstance(error, litellm.Timeout | TimeoutError):
        return ExpertTimeout(expert.name, f"Expert {expert.name} did not answer in time.")
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return ExpertBadReply(expert.name, f"Expert {expert.name} failed inside LiteLLM.")
    if isinstance(error, litellm.APIResponseValidationError) or "Unable to get json response" in said:
        return ExpertBadReply(expert.name, f"Expert {expert.name} sent a reply that is not JSON.")
    code = None
    if isinstance(error, litellm.ContextWindowExceededError):
        code = "context_length_exceeded"
    elif isinstance(error, litellm.ContentPolicyViolationError):
        code = "content_policy_violation"
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    wait_s = retry_after_in({str(name).lower(): str(value) for name, value in headers.items()})
    payload = {"error": {"message": said, "code": code}}
    return refusal(expert, status, payload, secret, retry_after_s=wait_s)


def _said(error: Exception) -> str:
    """The provider's message in "litellm.X: YException - {json}"."""
    text = str(getattr(error, "message", error))
    found = re.search(r"\{.*\}", text, re.DOTALL)
    with contextlib.suppress(ValueError):
        payload = json.loads(found.group()) if found else None
        inner = payload.get("error") if isinstance(payload, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            return str(inner["message"])
    return re.sub(r"^(?:litellm\.\w+: )+(?:\w+ - )?", "", text)
