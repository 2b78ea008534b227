"""vLLM's sleep mode as the fake expert plays it: `/sleep`, `/wake_up`, `/is_sleeping`, `/collective_rpc`, and
its faults. While it sleeps it refuses requests for answers."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


@dataclass(slots=True)
class FakeSleep:
    """May be changed at any time. `level`: of its sleep, None while it is awake; `wake_s`, `sleep_s`: what a
    switch takes; `wake_status`, `sleep_status`: any other than 200 is the answer in its place; `wakes`:
    whether it is awake after it was woken; `key`: of these endpoints. `calls`: the paths that were asked for,
    with their level or tags, in order."""

    level: int | None = None
    wake_s: float = 0.0
    sleep_s: float = 0.0
    wake_status: int = 200
    sleep_status: int = 200
    wakes: bool = True
    key: str | None = None
    calls: list[str] = field(default_factory=list)
    weights: bool = True
    """Whether they are there: level 2 discards them, and they have to be read again."""

    def refusal(self) -> Response | None:
        """The answer to a request for an answer, None when it may have one."""
        if self.level is not None:
            return JSONResponse({"error": {"message": "The engine sleeps."}}, status_code=503)
        if not self.weights:
            return JSONResponse({"error": {"message": "The weights are not there."}}, status_code=500)
        return None

    def _shut(self, request: Request) -> Response | None:
        if self.key is None or request.headers.get("authorization") == f"Bearer {self.key}":
            return None
        return JSONResponse({"error": "Unauthorized"}, status_code=401)

    async def sleep(self, request: Request) -> Response:
        if (shut := self._shut(request)) is not None:
            return shut
        level = int(request.query_params.get("level", "1"))
        self.calls.append(f"/sleep {level}")
        await asyncio.sleep(self.sleep_s)
        if self.sleep_status == 200:
            self.level, self.weights = level, self.weights and level == 1
        return JSONResponse({"status": "sleeping", "level": level}, status_code=self.sleep_status)

    async def wake_up(self, request: Request) -> Response:
        if (shut := self._shut(request)) is not None:
            return shut
        tags = request.query_params.getlist("tags")
        self.calls.append(" ".join(["/wake_up", *tags]))
        await asyncio.sleep(self.wake_s)
        if self.wake_status == 200 and self.wakes and tags != ["weights"]:
            self.level = None
        awake = "sleeping" if self.level else "awake"
        return JSONResponse({"status": awake, "tags": tags or None}, status_code=self.wake_status)

    async def collective_rpc(self, request: Request) -> Response:
        if (shut := self._shut(request)) is not None:
            return shut
        method = (await request.json()).get("method")
        self.calls.append(f"/collective_rpc {method}")
        self.weights = self.weights or method == "reload_weights"
        return JSONResponse({"results": [None]})

    async def is_sleeping(self, request: Request) -> Response:
        if (shut := self._shut(request)) is not None:
            return shut
        return JSONResponse({"is_sleeping": self.level is not None})
