"""How an expert was asked: the prompt, mixture or identity in front, and the samples that it gave."""

import streamlit as st

from client import IdentityInfo, MixtureInfo, RoutingDecision, SampleInfo
from ui.markdown import plain

DROPPED = {
    "demos": "its examples did not fit the context and were left out",
    "prompt": "its prompt did not fit the context and was left out",
}
SKIPPED = {
    "no_category": "none, as the request was not classified",
    "not_kept": "none, as identities did not win in this category",
    "not_written": "none, as the model wrote none",
    "too_long": "left out, as it did not fit the context",
}


def prompt_lines(decision: RoutingDecision) -> list[str]:
    """One line of Markdown for each thing put in front, and for samples; none for a request that went out as
    it came."""
    lines = []
    if decision.prompt is not None:
        prompt = decision.prompt
        lines.append(f"Prompt **{plain(prompt.name)}** version {prompt.version} (`{plain(prompt.hash)}`)")
    if decision.mixture is not None:
        lines.append(_mixture(decision.mixture))
    if decision.identity is not None:
        lines.append(_identity(decision.identity))
    if decision.samples is not None:
        lines.append(_samples(decision.samples))
    return lines


def show_prompt(decision: RoutingDecision) -> None:
    """Those lines, if there are any."""
    lines = prompt_lines(decision)
    if lines:
        st.markdown("**How the expert was asked**")
        st.markdown("\n".join(f"- {line}" for line in lines))


def _samples(samples: SampleInfo) -> str:
    how = "most sure of its words" if samples.selected == "logprob" else "of the majority"
    failed = samples.asked - samples.answered
    came = f", {failed} of them failed" if failed else ""
    agreed = "" if samples.agreed is None else f"; {samples.agreed:.0%} have its final answer"
    return f"Samples: {samples.asked}{came}, the answer is the one {how}{agreed}"


def _mixture(mixture: MixtureInfo) -> str:
    where = f"region {mixture.region}" if mixture.region is not None else "no region"
    distance = "" if mixture.distance is None else f" at distance {mixture.distance:.2f}"
    far = ", too far from all: its fallback" if mixture.fallback else ""
    picked = f", {len(mixture.nearest)} examples picked for this request" if mixture.nearest else ""
    dropped = f"; {said}" if (said := DROPPED.get(mixture.dropped or "")) else ""
    what = f"Mixture **{plain(mixture.name)}**: {where}{distance}{far}{picked}{dropped}"
    return f"{what} (`{plain(mixture.digest)[:12]}`)"


def _identity(identity: IdentityInfo) -> str:
    if identity.skipped is not None:
        what = SKIPPED.get(identity.skipped, plain(identity.skipped))
    elif identity.per == "request":
        what = "written for this request"
    else:
        what = f"that of {plain(identity.category or 'its category')}"
    cost = ""
    if identity.calls:
        tokens = identity.prompt_tokens + identity.completion_tokens
        cost = f", at the cost of a call ({tokens:,} tokens, {identity.ms / 1000:.1f} s)"
    return f"Identity: {what}{cost}"
