"""/v1/composition/reload."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.json import JsonResponse
from app.composition_reload import ReloadError
from app.errors import ServiceError
from app.services import Services
from app.settings import is_loopback

router = APIRouter()


@router.post("/v1/composition/reload")
async def reload(request: Request) -> Response:
    """Read the composition's folder and the rules again and route by them from now on.

    Requests in flight keep the composition that they were routed by. What cannot be used is refused
    with the reason, and the old composition stays. Of several workers all reload, or none. Needs an API key;
    without any, this machine only.
    """
    services: Services = request.app.state.services
    _check_operator(request, services)
    try:
        done = await services.reloader.reload()
    except ReloadError as error:
        raise ServiceError(422, "invalid_composition", f"{error}. The old composition stays.") from error
    return JsonResponse(
        {
            "object": "composition.reload",
            "old": done.old,
            "new": done.new,
            "changed": done.old != done.new,
            "rules": done.rules,
            "canary": done.canary,
            "workers": done.workers,
        }
    )


def _check_operator(request: Request, services: Services) -> None:
    """Without API keys: only callers on this machine, and no web page that a browser here shows."""
    if services.settings.keys:
        return
    caller = request.client.host if request.client else ""
    if not is_loopback(caller) or "origin" in request.headers:
        raise ServiceError(
            403,
            "forbidden",
            "Without API keys the composition is reloaded from this machine only: set COTERIE_API_KEYS.",
        )
