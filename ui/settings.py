"""Where the API is, and the console's own limits. Read from the environment once per script run."""

from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ConsoleSettings(BaseSettings):
    """`COTERIE_API_URL` and `COTERIE_API_KEY` say which API is used; times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="COTERIE_", frozen=True, extra="ignore")

    api_url: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://[^\s]+$")
    api_key: SecretStr | None = None

    console_connect_s: float = Field(default=3.0, gt=0)
    """To open a connection. Short, so that a stopped API is noticed at once."""
    console_page_s: float = Field(default=10.0, gt=0)
    """For one answer of the API that feeds a page."""
    console_idle_s: float = Field(default=300.0, gt=0)
    """Longest silence inside a streamed answer. A large model on a CPU takes its time."""
    console_refresh_s: float = Field(default=0.15, gt=0)
    """How often a growing answer is redrawn."""
    console_browsers: int = Field(default=500, ge=1)
    """Browsers whose conversations are kept; the longest unused is forgotten first."""
    console_conversations: int = Field(default=200, ge=1)
    """Conversations kept per browser; the oldest is forgotten first."""

    @property
    def root(self) -> str:
        """The API's address without a trailing slash and without `/v1`."""
        return self.api_url.rstrip("/").removesuffix("/v1")

    @property
    def is_local(self) -> bool:
        """Whether the API is on this machine, where no proxy may stand in between."""
        return urlsplit(self.api_url).hostname in LOOPBACK


def read_settings() -> ConsoleSettings:
    """The settings of the environment as it is now.

    Raises `pydantic.ValidationError` when a variable has no meaning.
    """
    return ConsoleSettings()
