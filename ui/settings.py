"""Where the API is, and the console's own limits. Read from the environment once per script run."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from client import DEFAULT_URL, ApiError, AsyncClient, ClientTimeouts, service_base


class ConsoleSettings(BaseSettings):
    """`COTERIE_API_URL` and `COTERIE_API_KEY` say which API is used; times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="COTERIE_", frozen=True, extra="ignore")

    api_url: str = DEFAULT_URL
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

    @field_validator("api_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        try:
            return service_base(url)
        except ApiError as error:
            raise ValueError(str(error)) from None

    def client(self) -> AsyncClient:
        """A client of the API. It belongs to the event loop that uses it first."""
        return AsyncClient(
            self.api_url,
            key=None if self.api_key is None else self.api_key.get_secret_value(),
            timeouts=ClientTimeouts(self.console_connect_s, self.console_page_s, self.console_idle_s),
        )


def read_settings() -> ConsoleSettings:
    """The settings of the environment as it is now.

    Raises `pydantic.ValidationError` when a variable has no meaning.
    """
    return ConsoleSettings()
