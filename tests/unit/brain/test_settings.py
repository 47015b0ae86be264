"""Every setting: its bounds, and what production refuses."""

from __future__ import annotations

import secrets

import pytest

from brain.settings import Settings, UnsafeSettings, load, weak

pytestmark = pytest.mark.feature("O10")

GOOD = {
    "DATABASE_URL": "postgresql://me:s3cret-in-url@db/ganglion",
    "REDIS_URL": "redis://valkey:6379/0",
    "JWT_SECRET_KEY": secrets.token_urlsafe(64),
    "MASTER_KEY": secrets.token_hex(32),
    "GATEWAY_TOKEN": secrets.token_hex(32),
    "INSTALLATION_ID": "home",
}
PRODUCTION = {
    **GOOD,
    "ENVIRONMENT": "production",
    "PUBLIC_BRAIN_URL": "https://api.example.com",
    "PUBLIC_GATEWAY_URL": "https://ai.example.com",
}


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> object:
    def with_environment(**values: str) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return load()

    return with_environment


def _refusal(start: object, values: dict[str, str]) -> str:
    assert callable(start)
    with pytest.raises(UnsafeSettings) as refused:
        start(**values)
    return "\n".join(refused.value.sentences)


def test_good_settings_start_in_both_environments(start: object) -> None:
    assert callable(start)
    assert start(**GOOD).environment == "development"
    assert start(**PRODUCTION).environment == "production"


def test_nothing_set_names_every_needed_setting_and_what_it_is(start: object) -> None:
    told = _refusal(start, {})
    for name in GOOD:
        assert f"{name} is not set: " in told


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_says_what_it_is(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description is not None
    assert len(description) > 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET_KEY", "x" * 63),
        ("JWT_SECRET_KEY", ""),
        ("MASTER_KEY", "0" * 63),
        ("MASTER_KEY", "g" * 64),
        ("GATEWAY_TOKEN", "t" * 31),
        ("DATABASE_URL", "mysql://db/ganglion"),
        ("DATABASE_URL", "sqlite:///file"),
        ("REDIS_URL", "http://valkey"),
        ("INSTALLATION_ID", "two words"),
        ("INSTALLATION_ID", ""),
        ("ENVIRONMENT", "staging"),
        ("DEBUG", "perhaps"),
        ("DEMO_ACCOUNT", "perhaps"),
        ("USE_MOCK_PROVIDERS", "perhaps"),
        ("BRAIN_PORT", "65536"),
        ("PUBLIC_BRAIN_URL", "api.example.com"),
        ("PUBLIC_GATEWAY_URL", "ftp://example.com"),
        ("MINIMUM_CREDITS_FOR_API_KEY", "-1"),
        ("CREDIT_PRICE_USD", "0"),
        ("CREDIT_PRICE_USD", "0.0000000001"),
        ("CREDIT_PRICE_USD", "cheap"),
        ("API_RATE_LIMIT", "0"),
        ("API_REQUESTS_PER_SECOND", "0"),
        ("AUTH_REQUESTS_PER_SECOND", "0"),
        ("ACCESS_TOKEN_SECONDS", "59"),
        ("LEASE_TTL_SECONDS", "29"),
        ("BEAT_SECONDS", "0"),
        ("METER_WINDOW_SECONDS", "0"),
        ("METER_WINDOW_CLOSE_SECONDS_MAX", "9"),
        ("SUPPORT_CONTACT", "x" * 201),
    ],
)
def test_a_setting_out_of_its_bounds_is_named(start: object, name: str, value: str) -> None:
    assert name in _refusal(start, {**GOOD, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "true"),
        ("USE_MOCK_PROVIDERS", "true"),
        ("DEMO_ACCOUNT", "true"),
        ("PUBLIC_BRAIN_URL", "http://api.example.com"),
        ("PUBLIC_GATEWAY_URL", "http://ai.example.com"),
        ("CORS_ORIGINS", "https://a.example.com,*"),
        ("JWT_SECRET_KEY", "changeme" * 8),
        ("JWT_SECRET_KEY", "abcdefghijklmnop" * 4),
        ("MASTER_KEY", "0123456789abcdef" * 4),
        ("GATEWAY_TOKEN", "t" * 64),
    ],
)
def test_production_refuses_what_is_unsafe_and_says_why(
    start: object, name: str, value: str
) -> None:
    assert name in _refusal(start, {**PRODUCTION, name: value})


def test_machines_are_rented_only_where_they_reach_the_brain(start: object) -> None:
    assert callable(start)
    assert "VAST_API_KEY is set" in _refusal(start, {**GOOD, "VAST_API_KEY": "k"})
    start(**GOOD, VAST_API_KEY="k", VAST_URL="http://127.0.0.1:9000")  # an emulated cloud


def test_a_brain_that_is_reached_over_https_may_rent_machines(start: object) -> None:
    assert callable(start)
    found = start(**GOOD, VAST_API_KEY="k", PUBLIC_BRAIN_URL="https://api.example.com")
    assert found.keys_elsewhere() == ["vast_api_key"]


def test_production_rents_containers_from_an_image_of_its_own(start: object) -> None:
    assert "CLOUD_BOOT_IMAGE" in _refusal(start, {**PRODUCTION, "RUNPOD_API_KEY": "rpa_1"})


def test_production_refuses_one_secret_used_twice(start: object) -> None:
    told = _refusal(start, {**PRODUCTION, "GATEWAY_TOKEN": PRODUCTION["MASTER_KEY"]})
    assert "must differ" in told


def test_production_tells_every_fault_at_once(start: object) -> None:
    told = _refusal(start, {**PRODUCTION, "DEBUG": "1", "CORS_ORIGINS": "*"})
    assert "DEBUG" in told
    assert "CORS_ORIGINS" in told


def test_a_refusal_shows_no_value(start: object) -> None:
    bad = {**PRODUCTION, "JWT_SECRET_KEY": "hush-hush", "DATABASE_URL": "mysql://u:hush@h/d"}
    assert "hush" not in _refusal(start, bad)


def test_settings_do_not_show_secrets_when_printed(start: object) -> None:
    assert callable(start)
    shown = repr(start(**GOOD))
    for name in ("JWT_SECRET_KEY", "MASTER_KEY", "GATEWAY_TOKEN", "DATABASE_URL"):
        assert GOOD[name] not in shown


def test_lists_are_written_with_commas(start: object) -> None:
    assert callable(start)
    origins = start(**GOOD, CORS_ORIGINS="https://a.example.com, https://b.example.com")
    assert origins.cors_origins == ("https://a.example.com", "https://b.example.com")


def test_random_secrets_are_not_weak() -> None:
    for _ in range(200):
        assert not weak(secrets.token_hex(32))
