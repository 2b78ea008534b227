"""A canary: a second composition beside the served one, which decides a share of the conversations.

    composition/             what is served
    composition.canary/      the second one, with `canary.json`: its share, and since when
    composition.previous/    what was served before the last promotion

These folders are all there is: a service reads them when it starts and when it reloads, and a rollback is a
rename. Knows nothing of how a canary is judged.
"""

import hashlib
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from base.files import replacing_folder
from base.json_documents import write_json
from base.strict_model import StrictModel
from base.validation_messages import problems_of
from routers.composition import CompositionError, load_composition

FILE = "canary.json"


class CanarySettings(StrictModel):
    """`share` of the conversations, and when it began (UTC)."""

    share: Annotated[float, Field(gt=0, lt=1)]
    started_at: datetime


@dataclass(frozen=True, slots=True)
class CanaryFolders:
    """The folders of the served composition, its canary, and what was served before."""

    served: Path

    @property
    def canary(self) -> Path:
        return self._beside("canary")

    @property
    def previous(self) -> Path:
        return self._beside("previous")

    def _beside(self, ending: str) -> Path:
        return self.served.with_name(f"{self.served.name}.{ending}")

    def settings(self) -> CanarySettings | None:
        """Those of the canary; None when there is none. Raises CompositionError."""
        path = self.canary / FILE
        try:
            return CanarySettings.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as error:
            raise CompositionError(
                f"{path}: {problems_of(error, 'the file')[0]}: `coterie canary stop` ends it"
            ) from error

    def start(self, candidate: Path, share: float) -> None:
        """Copy `candidate` to the canary's folder, in the place of an earlier canary. Raises CompositionError
        when it is no composition, or the one that is served already, and ValueError for a share that is not
        between 0 and 1."""
        if not 0 < share < 1:
            raise ValueError("the share must be above 0 and below 1: 0.1 is every tenth conversation")
        served, new = load_composition(self.served), load_composition(candidate)
        if new.digest == served.digest:
            raise CompositionError(f"{candidate} is the composition that is served already: fit another one")
        settings = CanarySettings(share=share, started_at=datetime.now(UTC))
        with replacing_folder(self.canary) as made:
            shutil.copytree(candidate, made, dirs_exist_ok=True)
            write_json(settings.model_dump(mode="json"), made / FILE)

    def stop(self) -> None:
        """Remove the canary. Raises CompositionError when there is none."""
        if not self.canary.is_dir():
            raise CompositionError(
                f"there is no canary beside {self.served}: `coterie canary start` makes one"
            )
        shutil.rmtree(self.canary)

    def promote(self) -> None:
        """Serve the canary; what was served is kept as the previous one. Raises CompositionError."""
        if self.settings() is None:
            raise CompositionError(
                f"there is no canary beside {self.served}: `coterie canary start` makes one"
            )
        load_composition(self.canary)
        shutil.rmtree(self.previous, ignore_errors=True)
        self.served.rename(self.previous)
        self.canary.rename(self.served)
        (self.served / FILE).unlink()

    def roll_back(self) -> None:
        """Serve again what was served before the last promotion, and keep what is served now as the previous
        one: a second rollback goes forward again. Raises CompositionError."""
        if not self.previous.is_dir():
            raise CompositionError(f"nothing was served before {self.served}: no canary was promoted")
        load_composition(self.previous)
        now = self._beside("now")
        self.served.rename(now)
        self.previous.rename(self.served)
        now.rename(self.previous)


def takes(share: float, conversation: str) -> bool:
    """Whether the canary decides this conversation: a hash of its name, so that every worker says the same
    and a conversation stays where it is."""
    digest = hashlib.sha256(f"canary:{conversation}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share
