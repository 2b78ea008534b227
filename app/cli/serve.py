"""`coterie serve`."""

import asyncio

import typer

from app.cli.command_settings import read_settings
from app.cli.shared_options import CompositionFolder, ExpertsFile, Host, Port, Profile, Workers
from base.terminal import fail


def serve(
    host: Host = None,
    port: Port = None,
    profile: Profile = None,
    experts: ExpertsFile = None,
    composition: CompositionFolder = None,
    workers: Workers = None,
) -> None:
    """Serve the API alone; the experts run elsewhere.

    Logs are JSON lines on standard error. SIGTERM or Ctrl-C stops it gracefully: answers in flight are
    finished, decisions are written. With several workers this process keeps them and serves nothing itself.

    Example: `COTERIE_API_KEYS=team:s3cret coterie serve --host 0.0.0.0 --experts experts/gpu.yaml`
    """
    from app.errors import StartError
    from app.listening import new_event_loop
    from app.telemetry.logs import configure_logs

    settings = read_settings(
        host=host, port=port, profile=profile, experts=experts, composition=composition, workers=workers
    )
    configure_logs(settings.log_level, settings.log_format)
    if settings.workers == 1:
        from app.server import serve as run
    else:
        from app.workers.supervisor import supervise as run
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run(settings))
    except StartError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
