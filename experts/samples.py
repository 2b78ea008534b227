"""Several samples behind one answer (`Expert.samples`): what is asked for them, and which one is the answer.

Pure: knows no connection. `experts.client` asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from base.final_answers import closed_answer, kind_of_question, medoid, vote
from base.reply_text import text_of_message
from base.usage import TokenUsage
from experts.confidence import read_tokens, signals_of
from experts.expert import MOST_SAMPLES, DialectName, Expert, Selection
from experts.expert_replies import ExpertReply, SampleUse

SEEDS = 2**31
"""Seeds of samples are below it: all servers take them."""


def samples_for(expert: Expert, body: Mapping[str, Any], dialect: DialectName = "chat") -> int:
    """The samples behind one answer of `expert` to `body`: 1 where the client gives tools, or asks
    for several choices, or for greedy decoding."""
    choices = body.get("n")
    several = isinstance(choices, int) and choices > 1
    if dialect != "chat" or several or body.get("tools") or body.get("temperature") == 0:
        return 1
    return expert.samples


def sample_body(
    expert: Expert, body: Mapping[str, Any], number: int | None = None, *, choices: int | None = None
) -> dict[str, Any]:
    """The request for one sample, or for so many `choices`. `number` tells samples with one seed apart: seeds
    of different requests share no sample, whoever counts them."""
    out = {name: value for name, value in body.items() if name != "n"}
    if choices is not None:
        out["n"] = choices
    if isinstance(seed := out.get("seed"), int):
        out["seed"] = (seed * MOST_SAMPLES + (number or 0)) % SEEDS
    if expert.select == "logprob" and not out.get("logprobs"):
        out["logprobs"] = True
    return out


def choices_in(reply: ExpertReply) -> list[dict[str, Any]]:
    """The choices of a checked chat completion."""
    return [choice for choice in reply.body["choices"] if isinstance(choice, dict)]


def reduced(expert: Expert, body: Mapping[str, Any], replies: Sequence[ExpertReply]) -> ExpertReply:
    """One answer to `body` from the choices of all `replies` (at least one), with the usage of them all."""
    choices = [choice for reply in replies for choice in choices_in(reply)][: expert.samples]
    best, selected, agreed = _best(expert, body, choices)
    choice = {**choices[best], "index": 0}
    if not body.get("logprobs"):
        choice["logprobs"] = None
    completion = {**replies[0].body, "choices": [choice]}
    usage = replies[0].usage
    if len(replies) > 1:
        usage = TokenUsage.sum([TokenUsage.of(reply.usage) for reply in replies]).document()
        completion.pop("usage", None)
        if usage is not None:
            completion["usage"] = usage
    use = SampleUse(expert.samples, len(choices), selected, agreed)
    return replace(replies[0], body=completion, usage=usage, samples=use)


def _best(
    expert: Expert, body: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]
) -> tuple[int, Selection, float | None]:
    """The index of the choice that is the answer, how it was found, and the share that agrees with it."""
    texts = [text_of_message(choice.get("message")) for choice in choices]
    kind = kind_of_question([each for each in body.get("messages") or () if isinstance(each, Mapping)])
    answers = [None if kind is None else closed_answer(kind, text) for text in texts]
    if expert.select == "logprob":
        sure = {
            index: mean
            for index, choice in enumerate(choices)
            if texts[index].strip()
            and (mean := signals_of(read_tokens(choice.get("logprobs"))).mean) is not None
        }
        if sure:
            best = max(sure, key=lambda index: sure[index])
            return best, "logprob", _share(answers, best)
    voted = vote(answers, [1.0] * len(answers))
    best = medoid(texts) if voted is None else voted.winner
    return best, "majority", _share(answers, best)


def _share(answers: Sequence[str | None], best: int) -> float | None:
    own = answers[best]
    return None if own is None else answers.count(own) / len(answers)
