"""Stored responses, which later requests can continue. The operator decides whether any are stored.

A caller finds its own only. Knows rows, and nothing of what is in a response.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from app.errors import ServiceError
from app.siblings import Siblings
from app.storage import queries
from app.storage.database import Database
from app.storage.recorder import Recorder
from app.storage.rows import NewRow, ResponseRow

MAX_CHAIN = 1_000
"""Stored responses that one request may continue, by `previous_response_id` or the items that it names."""
WRITE_TIMEOUT_S = 2.0
"""How long a deletion waits for rows that are still in the writer's queue."""


class StoredResponses:
    """Written by the recorder, off the request path; what waits to be written is found as well, also where
    another worker has it."""

    def __init__(
        self, database: Database, recorder: Recorder, *, keeps: bool, siblings: Siblings | None = None
    ) -> None:
        """`keeps`: the operator keeps prompts. `siblings` may have rows that they have not written yet."""
        self.keeps = keeps
        self._database = database
        self._recorder = recorder
        self._siblings = siblings or Siblings()

    async def keep(self, columns: Mapping[str, Any]) -> None:
        """`columns` of a ResponseRow. Waits while the writer's queue is full."""
        await self._recorder.submit(NewRow(ResponseRow, columns))

    async def one(self, api_key: str | None, response_id: str) -> ResponseRow:
        """Raises ServiceError (404)."""
        found = await self.several(api_key, [response_id])
        if response_id not in found:
            raise self._unknown(404, "response_not_found", response_id, "response_id")
        return found[response_id]

    async def several(self, api_key: str | None, ids: Iterable[str]) -> dict[str, ResponseRow]:
        """Those that there are; none while the operator keeps no prompts, whatever was kept before."""
        wanted = set(ids) if self.keeps else set()
        found = {row.id: row for each in wanted if (row := self._waiting(api_key, each)) is not None}
        if left := wanted - found.keys():
            found |= await self._stored(left, api_key)
        if (left := wanted - found.keys()) and await self._siblings.ask("written"):
            found |= await self._stored(left, api_key)
        return found

    async def chain(self, api_key: str | None, last: str, *, whole: bool = True) -> list[ResponseRow]:
        """The response and those before it in its conversation, oldest first. Raises ServiceError (400), also
        for a missing one when `whole`."""
        found = await self._chain(api_key, last)
        missing = self.keeps and (not found or found[0].previous is not None) and len(found) < MAX_CHAIN
        if missing and await self._siblings.ask("written"):
            found = await self._chain(api_key, last)
        if len(found) > MAX_CHAIN or (found and found[0].previous is not None and len(found) == MAX_CHAIN):
            raise ServiceError(
                400,
                "invalid_value",
                f"previous_response_id: the conversation has more than {MAX_CHAIN} turns. Send them as "
                "input.",
                param="previous_response_id",
            )
        if whole and (not found or found[0].previous is not None):
            missing_id = last if not found else str(found[0].previous)
            raise self._unknown(400, "previous_response_not_found", missing_id, "previous_response_id")
        return found

    async def _chain(self, api_key: str | None, last: str) -> list[ResponseRow]:
        """As much of it as there is."""
        later: list[ResponseRow] = []
        following: str | None = last if self.keeps else None
        while following is not None and (row := self._waiting(api_key, following)) is not None:
            later.append(row)
            following = row.previous
        found = later[::-1]
        if following is not None:
            async with self._database.session() as session:
                earlier = await queries.response_chain(session, following, api_key, bound=MAX_CHAIN)
            found = [*earlier, *found]
        return found

    async def _stored(self, ids: Iterable[str], api_key: str | None) -> dict[str, ResponseRow]:
        async with self._database.session() as session:
            return await queries.responses_by_id(session, ids, api_key)

    async def delete(self, api_key: str | None, response_id: str) -> None:
        """Raises ServiceError: 404 for none of this caller's, 503 while the database does not answer."""
        await self._recorder.written(WRITE_TIMEOUT_S)
        await self._siblings.ask("written")
        if self._waiting(api_key, response_id) is not None:
            raise ServiceError(503, "database_unavailable", "The database does not answer; try again.")
        async with self._database.session() as session:
            deleted = await queries.delete_response(session, response_id, api_key)
        if not deleted:
            raise self._unknown(404, "response_not_found", response_id, "response_id")

    def _waiting(self, api_key: str | None, response_id: str) -> ResponseRow | None:
        row = self._recorder.waiting_row(ResponseRow, response_id)
        return row if row is not None and row.api_key == api_key else None

    def _unknown(self, status: int, code: str, response_id: str, param: str) -> ServiceError:
        if self.keeps:
            why = (
                "It was made with another API key or with `store` false, it was deleted, or it did not come "
                "to its end."
            )
        else:
            why = "This service keeps no responses: COTERIE_STORE_PROMPTS is off."
        message = f"There is no response {response_id[:80]!r}. {why}"
        if param == "previous_response_id":
            message += " Send the whole conversation as `input` instead."
        return ServiceError(status, code, message, param=param)
