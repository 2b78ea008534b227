"""`cascade`: the weak expert answers first, and the strong one when the confidence is too low.

The confidence comes from the log-probabilities of the weak answer as it streams. The verdict falls as soon as
no further token can change it: an accepted answer streams on, a refused one is stopped. Further signals
(agreement of short samples, a verifier) are asked for only when they can decide.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import Field

from app.strategies.expert_calls import OpenAnswer
from app.strategies.judgments import agreement, verify
from app.strategies.limits import LimitReached
from app.strategies.strategy import Strategy, StrategyOptions, graph_of, verdict_of
from app.strategies.strategy_run import Candidate, Run
from experts.confidence import Signals, bounds_of, signals_of
from experts.errors import ExpertError
from routers.cascade_model import CascadeModel, Weights

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

SAMPLES = 3


class CascadeOptions(StrategyOptions):
    """Which experts, and how sure the weak one must be. What is left out comes from the fit."""

    weak: str | None = None
    strong: str | None = None
    threshold: Annotated[float, Field(ge=0, le=1.000001)] | None = None
    """Accept at this confidence or above, 0..1."""
    window: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Tokens of the weak answer that are read for its confidence."""
    weights: Weights | None = None
    """A confidence model of the request's own, with `bias`: weights of `mean`, `tail`, `dispersion`,
    `agreement` and `verifier`."""
    bias: float = 0.0
    samples: Annotated[int, Field(ge=0, le=5)] = 0
    """Short samples of the weak expert that its answer is compared with."""
    sample_tokens: Annotated[int, Field(ge=1, le=1024)] = 48
    verifier: str | None = None
    """An expert that is asked whether the weak answer is right."""


class _CascadeState(TypedDict, total=False):
    verdict: Literal["accepted", "open", "refused"]


class Cascade(Strategy):
    """Weak first, strong when unsure."""

    name = "cascade"
    options = CascadeOptions

    def graph(self) -> "StateGraph[Any, Any, Any, Any]":
        from langgraph.graph import END, START

        graph = graph_of(_CascadeState, weak=_weak, second_look=_second_look, strong=_strong)
        graph.add_edge(START, "weak")
        graph.add_conditional_edges(
            "weak", verdict_of, {"accepted": END, "open": "second_look", "refused": "strong"}
        )
        graph.add_conditional_edges("second_look", verdict_of, {"accepted": END, "refused": "strong"})
        graph.add_edge("strong", END)
        return graph

    def refuses(self, run: Run) -> str | None:
        pair = choose_pair(run)
        return pair if isinstance(pair, str) else None


def choose_pair(run: Run) -> tuple[Candidate, Candidate] | str:
    """The weak and the strong expert; or why there are no two.

    Strong is the candidate that is expected to answer best, whatever it costs; weak the best by value of
    those with fewer active parameters, or a lower expected cost.
    """
    options: CascadeOptions = run.options
    if lacking := run.lacks(options.weak, options.strong, options.verifier):
        return lacking
    strong = run.candidate(options.strong) or max(
        (each for each in run.candidates if each.expert != options.weak),
        key=lambda each: (each.probability, each.active_params_b),
        default=None,
    )
    if strong is None:
        return "no other expert can answer it"
    weak = run.candidate(options.weak) or next(
        (each for each in run.candidates if each.expert != strong.expert and _cheaper(each, strong)), None
    )
    if weak is None:
        return f"no expert cheaper than {strong.expert} can answer it"
    if weak.expert == strong.expert:
        return "weak and strong are the same expert"
    return weak, strong


def model_for(run: Run, weak: str, strong: str) -> CascadeModel:
    """The fitted model of the pair, or the unfitted one; with the request's own threshold and window."""
    options: CascadeOptions = run.options
    fitted = next((each for each in run.cascades if (each.weak, each.strong) == (weak, strong)), None)
    model = fitted or CascadeModel(weak=weak, strong=strong)
    if options.weights is not None:
        model = CascadeModel(
            weak=weak, strong=strong, weights=options.weights, bias=options.bias, threshold=model.threshold
        )
    said = {"threshold": options.threshold, "window": options.window}
    return model.model_copy(update={name: value for name, value in said.items() if value is not None})


async def _weak(state: _CascadeState, run: Run) -> _CascadeState:
    pair = choose_pair(run)
    if isinstance(pair, str):
        raise ValueError(pair)
    weak, strong = pair
    model = model_for(run, weak.expert, strong.expert)
    run.trace.values |= {
        "weak": weak.expert,
        "strong": strong.expert,
        "threshold": round(model.threshold, 6),
        "threshold_from": _threshold_from(run.options, model),
        "window": model.window,
    }
    live = await run.listen(weak.expert, "weak answer", logprobs=True)
    if live is None:
        return {"verdict": "refused"}
    try:
        verdict, signals = await _watch(live, model, _asked(run, model))
    except (ExpertError, LimitReached):
        run.degrade(f"{weak.expert} failed in the middle of its answer.")
        return {"verdict": "refused"}
    sure = model.confidence(asdict(signals))
    live.step.confidence = sure
    lacking = _lacking(live, model, signals)
    if verdict == "accepted":
        _say(run, model, sure, accepted=True, lacking=lacking)
        if await run.follow(live):
            return {"verdict": "accepted"}
        return {"verdict": "refused"}
    if live.done:
        run.replies.append(await live.rest())
    if verdict == "refused":
        await live.close()
        live.step.detail = "Not sure enough, so the strong expert answers."
        _say(run, model, sure, accepted=False, lacking=lacking)
    return {"verdict": verdict}


async def _watch(
    live: OpenAnswer, model: CascadeModel, further: frozenset[str]
) -> tuple[Literal["accepted", "open", "refused"], Signals]:
    """Read until the verdict is certain, or, when only `further` signals can tell, until the answer's
    end ("open"). The signals are those of what was read."""
    while True:
        signals = signals_of(live.tokens[: model.window])
        if live.done:
            worst = best = signals
        else:
            worst, best = bounds_of(live.tokens, model.window)
        low = model.confidence(asdict(worst) | dict.fromkeys(further, 0.0))
        high = model.confidence(asdict(best) | dict.fromkeys(further, 1.0))
        if low is not None and low >= model.threshold:
            return "accepted", signals
        if high is None or high < model.threshold:
            return "refused", signals
        if live.done:
            return "open", signals
        if live.pieces and not live.tokens:
            return "refused", Signals()
        await live.read()


async def _second_look(state: _CascadeState, run: Run) -> _CascadeState:
    weak, strong = run.trace.values["weak"], run.trace.values["strong"]
    model = model_for(run, weak, strong)
    said = run.replies[-1]
    signals = asdict(signals_of(said.tokens[: model.window]))
    asked = _asked(run, model)
    if "agreement" in asked:
        signals["agreement"] = await agreement(
            run, said, run.options.samples or SAMPLES, run.options.sample_tokens
        )
    if "verifier" in asked:
        signals["verifier"] = await verify(run, said, run.options.verifier or strong)
    for name in sorted(asked):
        value = signals[name]
        run.trace.values[name] = None if value is None else round(value, 4)
        if value is None:
            run.degrade(f"Nothing came of the {name} that was asked for.")
    sure = model.confidence(signals)
    said.step.confidence = sure
    accepted = sure is not None and sure >= model.threshold
    _say(run, model, sure, accepted=accepted, lacking="further signal")
    if accepted:
        await run.answer(said)
    return {"verdict": "accepted" if accepted else "refused"}


async def _strong(state: _CascadeState, run: Run) -> _CascadeState:
    strong = run.trace.values["strong"]
    if await run.answer_from(strong, "strong answer"):
        return {}
    if run.replies:
        run.degrade(f"The answer of {run.replies[-1].expert} stands although it was not sure of it.")
        await run.answer(run.replies[-1])
    return {}


def _threshold_from(options: CascadeOptions, model: CascadeModel) -> str:
    if options.threshold is not None:
        return "options"
    if options.weights:
        return "not fitted for the weights of the options"
    return f"fitted on {model.fitted_on} outcomes" if model.fitted else "default, not fitted"


def _asked(run: Run, model: CascadeModel) -> frozenset[str]:
    """The signals that take further calls: those the fit needs, or without a fit those that are asked for."""
    if model.fitted:
        return model.needs() & {"agreement", "verifier"}
    wanted = {"agreement"} if run.options.samples else set()
    return frozenset(wanted | ({"verifier"} if run.options.verifier else set()))


def _lacking(live: OpenAnswer, model: CascadeModel, signals: Signals) -> str | None:
    """Signals that the confidence needs and the answer did not bring; None when there are none so far."""
    if not live.tokens:
        return "log-probabilities" if live.pieces or live.done else None
    return "alternatives" if signals.dispersion is None and "dispersion" in model.needs() else None


def _say(run: Run, model: CascadeModel, sure: float | None, *, accepted: bool, lacking: str | None) -> None:
    run.trace.values["confidence"] = None if sure is None else round(sure, 4)
    relation = f"{'at least' if accepted else 'below'} {model.threshold:.3f}"
    if sure is not None:
        what = f"{sure:.3f}, {relation}"
    else:
        what = f"bound to be {relation}" if lacking is None else f"unknown, since no {lacking} came"
    verdict = "its answer was accepted" if accepted else f"{model.strong} was asked"
    run.note(f"The confidence of {model.weak} was {what}: {verdict}.")


def _cheaper(one: Candidate, other: Candidate) -> bool:
    if one.active_params_b != other.active_params_b:
        return one.active_params_b < other.active_params_b
    return one.cost is not None and other.cost is not None and one.cost < other.cost


strategy = Cascade()
