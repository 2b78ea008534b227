"""The development endpoints of a vLLM server by which it sleeps and wakes (sleep mode, vLLM 0.32).

vLLM's own key does not guard them, and beside them is one that runs any method (`/collective_rpc`): they must
be reachable by nobody else. Local servers have a guard with a key of its own (`experts/local/guard/`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from experts.residency_settings import Absence

if TYPE_CHECKING:
    from aiohttp import ClientSession

CONNECT_S = 5.0


class SwitchFailed(Exception):
    """A server could not be loaded or put to sleep; `message` says why to clients, without addresses, and
    `detail` to operators. `gone`: nothing listens there, so it takes no memory."""

    def __init__(self, message: str, *, gone: bool = False, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.gone = gone
        self.detail = detail or message


@dataclass(frozen=True, slots=True)
class SleepEndpoints:
    """Of the server at `root` (without `/v1`). Callers bound the time. All raise `SwitchFailed`."""

    root: str
    key: SecretStr | None = None

    async def sleep(self, absence: Absence) -> None:
        """Sleep, once what is being answered is."""
        level = {"level1": "1", "level2": "2"}[absence]
        await self._call("POST", "/sleep", params={"level": level, "mode": "wait"})

    async def wake(self, absence: Absence) -> None:
        """Wake from this level; the weights that level 2 discarded are read again."""
        if absence == "level2":
            await self._call("POST", "/wake_up", params={"tags": "weights"})
            await self._call("POST", "/collective_rpc", json={"method": "reload_weights"})
            await self._call("POST", "/wake_up", params={"tags": "kv_cache"})
        await self._call("POST", "/wake_up")
        if await self.sleeping():
            raise SwitchFailed("it still sleeps after it was woken")

    async def sleeping(self) -> bool:
        found = await self._call("GET", "/is_sleeping")
        asleep = found.get("is_sleeping") if isinstance(found, dict) else None
        if not isinstance(asleep, bool):
            raise SwitchFailed("it does not say whether it sleeps")
        return asleep

    async def _call(self, method: str, path: str, **given: Any) -> Any:
        import aiohttp

        headers = {} if self.key is None else {"authorization": f"Bearer {self.key.get_secret_value()}"}
        try:
            async with (
                self._session() as session,
                session.request(
                    method, self.root + path, headers=headers, allow_redirects=False, **given
                ) as response,
            ):
                if response.status in {401, 403}:
                    raise SwitchFailed(f"it refuses the key for {path}: residency.key_env names ours")
                if response.status == 404:
                    raise SwitchFailed(
                        f"it has no {path}: start it with VLLM_SERVER_DEV_MODE=1 and --enable-sleep-mode"
                    )
                if response.status >= 300:
                    raise SwitchFailed(f"{path} answered {response.status}")
                return await response.json(content_type=None)
        except aiohttp.ClientConnectorError as error:
            raise SwitchFailed("it refuses the connection", gone=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SwitchFailed(f"{path} broke off ({type(error).__name__})") from error

    def _session(self) -> "ClientSession":
        """One for each call: calls are rare, and a kept connection may be dead by the next."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        return aiohttp.ClientSession(timeout=timeout)
