"""Settings from the environment."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import PROJECT, Settings, is_loopback


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("COTERIE_")]:
        monkeypatch.delenv(name)


def test_the_profile_names_registry_and_composition() -> None:
    settings = Settings(profile="tiny")
    assert settings.experts == PROJECT / "experts" / "tiny.yaml"
    assert settings.composition == PROJECT / "routers" / "compositions" / "tiny"


def test_a_file_of_its_own_wins_over_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTERIE_PROFILE", "gpu")
    monkeypatch.setenv("COTERIE_EXPERTS", "mine.yaml")
    settings = Settings()
    assert settings.experts == Path("mine.yaml")
    assert settings.composition.name == "gpu"


def test_the_default_database_is_a_file_in_the_data_folder() -> None:
    assert Settings(data=Path("/d")).database == "sqlite+aiosqlite:////d/coterie.db"


def test_keys_come_from_both_sources_and_are_kept_as_digests(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nops: k3\n\nk4\n")
    settings = Settings(api_keys="a:k1, b:k2", api_keys_file=file)
    assert [key.label for key in settings.keys] == ["a", "b", "ops", "key-4"]
    assert all(len(key.digest) == 32 for key in settings.keys)
    assert "k1" not in repr(settings)


@pytest.mark.parametrize("keys", ["a:k1,a:s3cret", ":s3cret", "s3cret:"])
def test_malformed_keys_are_refused_without_repeating_them(keys: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(api_keys=keys)
    assert "s3cret" not in str(raised.value).replace("label 's3cret'", "")


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings(api_keys_file=tmp_path / "none")


def test_a_value_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTERIE_PORT", "70000")
    with pytest.raises(ValidationError, match="port"):
        Settings()


@pytest.mark.parametrize(
    ("host", "keys", "is_open"),
    [
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("localhost", None, False),
        ("0.0.0.0", None, True),
        ("192.168.1.5", None, True),
        ("0.0.0.0", "a:k", False),
    ],
)
def test_it_is_open_to_the_network_only_without_keys(host: str, keys: str | None, is_open: bool) -> None:
    assert Settings(host=host, api_keys=keys).open_to_the_network is is_open


def test_a_host_name_is_not_taken_for_loopback() -> None:
    assert not is_loopback("127.example.org")


def test_origins_are_a_list_of_origins() -> None:
    assert Settings(cors_origins="https://a.example, http://localhost:3000/").origins == (
        "https://a.example",
        "http://localhost:3000",
    )
    assert Settings(cors_origins="*").origins == ("*",)
    assert Settings().origins == ()
    for wrong in ("a.example", "https://a.example/chat", "https://", "localhost:3000"):
        with pytest.raises(ValidationError, match="COTERIE_CORS_ORIGINS"):
            Settings(cors_origins=wrong)
