"""`python -m experts.fake`: serve one fake expert until Ctrl-C."""

import argparse
import inspect
from collections.abc import Sequence

from experts.fake import FAULTS, Behaviour, create_fake_expert


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one fake expert until Ctrl-C. It speaks chat completions, completions, responses, messages and
    embeddings."""
    import uvicorn

    faults = "\n".join(f"  {name:<20}{fault.description}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m experts.fake",
        description=inspect.getdoc(main),
        epilog=f"cases:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8199)
    parser.add_argument("--name", default="fake", help="what the fake calls itself in its answers")
    parser.add_argument("--model", help="the model that it lists, instead of its name")
    parser.add_argument("--reply", help="answer this instead of repeating the question")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before the first byte")
    parser.add_argument("--token-delay", type=float, default=0.0, help="seconds before each word")
    parser.add_argument("--context-length", type=int, help="refuse longer requests, in words")
    parser.add_argument("--tool-steps", type=int, help="call the first tool so often before answering")
    parser.add_argument("--case", choices=FAULTS, metavar="CASE", help="play a fault, see below")
    given = parser.parse_args(arguments)
    behaviour = Behaviour(
        reply=given.reply,
        delay_s=given.delay,
        token_delay_s=given.token_delay,
        tool_steps=given.tool_steps,
        case=given.case,
    )
    models = [] if given.model is None else [given.model]
    app = create_fake_expert(behaviour, name=given.name, models=models, context_length=given.context_length)
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning", lifespan="off", ws="none")


if __name__ == "__main__":
    main()
