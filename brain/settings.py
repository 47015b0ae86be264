"""Every setting of the brain, by its name in the environment; unsafe ones refuse to start."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from brain.adapters.clouds import CloudSettings
from brain.adapters.mail import MailSettings
from brain.adapters.payments.open import WalletSettings

JWT_BYTES_MIN = 64
WEAK_WORDS = ("changeme", "change-me", "secret", "password", "example", "default", "development")


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class UnsafeSettings(Exception):
    """The brain does not start like this. ``sentences`` say why, one each, without values."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class Settings(WalletSettings, MailSettings, CloudSettings):
    """Read from the environment only. Names are law; see .env.example."""

    model_config = SettingsConfigDict(
        extra="ignore", case_sensitive=False, hide_input_in_errors=True, frozen=True
    )

    environment: Environment = Field(
        default=Environment.DEVELOPMENT,
        description="development, or production, which refuses unsafe settings.",
    )
    debug: bool = Field(default=False, description="Log more. Never in production.")
    database_url: SecretStr = Field(
        description="PostgreSQL 15 or newer: postgresql://user:password@host/name."
    )
    redis_url: SecretStr = Field(
        description="Valkey or Redis: redis://host:6379/0 or unix:///path/to/socket."
    )
    jwt_secret_key: SecretStr = Field(
        description="Signs access tokens; at least 64 bytes. openssl rand -base64 64"
    )
    master_key: SecretStr = Field(
        description="64 hex digits; agent session keys and cache salts are derived from it."
        " openssl rand -hex 32"
    )
    gateway_token: SecretStr = Field(
        description="What gateways show to the brain; at least 32 bytes. openssl rand -hex 32"
    )
    installation_id: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Names this installation on every machine and container that it makes.",
    )
    brain_host: str = Field(default="127.0.0.1", description="Address to listen on.")
    brain_port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    public_brain_url: str = Field(
        default="http://127.0.0.1:8000",
        description="Where agents and people reach the brain. https in production.",
    )
    public_gateway_url: str = Field(
        default="http://127.0.0.1:8080",
        description="Where clients reach the gateway. https in production.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins of web pages that may call the API, with commas between."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses of proxies whose X-Forwarded-For is believed, commas between.",
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        description="What /metrics asks for as Bearer. Without it production has no /metrics.",
    )
    metrics_nodes: bool = Field(
        default=False,
        description="/metrics/nodes has each GPU's readings; a series for every GPU and figure.",
    )
    support_contact: str = Field(
        default="", max_length=200, description="Shown to people who need help: mail or link."
    )
    access_token_seconds: int = Field(
        default=3600, ge=60, le=86_400, description="How long a log-in lasts."
    )
    minimum_credits_for_api_key: int = Field(
        default=5000, ge=0, description="Purchased credits that an API key needs; 0: none."
    )
    credit_price_usd: Decimal = Field(
        default=Decimal("0.0001"),
        gt=0,
        decimal_places=9,
        description="Price of a credit in the first dated row; later prices are rows.",
    )
    api_rate_limit: int = Field(
        default=100,
        ge=1,
        le=10**9,
        description="Requests a minute per API key: on the management API, and on the gateway"
        " where the key has no limit of its own.",
    )
    api_rate_limit_max: int = Field(
        default=6000, ge=1, le=10**9, description="The most that a key's own limit may be."
    )
    account_requests_per_minute: int = Field(
        default=0, ge=0, le=10**9, description="Of all keys of an account on the gateway; 0: none."
    )
    account_tokens_per_minute: int = Field(
        default=0, ge=0, le=10**9, description="The same of tokens; 0: none."
    )
    account_requests_at_once: int = Field(
        default=0, ge=0, le=10**6, description="Requests of an account that run at once; 0: any."
    )
    api_requests_per_second: int = Field(
        default=30, ge=1, description="On /api/* per address, and per user or API key."
    )
    auth_requests_per_second: int = Field(default=5, ge=1, description="On /auth/* per address.")
    demo_account: bool = Field(
        default=False,
        description="This installation has a demo account whose password is known."
        " Never in production.",
    )
    lease_ttl_seconds: int = Field(
        default=600, ge=30, le=86_400, description="An agent stops work not renewed for so long."
    )
    beat_seconds: int = Field(default=10, ge=1, le=60, description="Pace of agents' heartbeats.")
    worker_alive_file: Path | None = Field(
        default=None,
        description="The worker touches it after each tick that did not fail: a health check"
        " looks how old it is.",
    )
    agent_wheels_dir: str = Field(
        default="",
        description="Wheels of the agent's file for several Pythons and machines"
        " (tools/agent_wheels.py); empty: for the brain's own alone.",
    )
    agent_update_percent_per_hour: float = Field(
        default=25,
        ge=0,
        description="Share of the nodes that are brought to this brain's agent each hour; 0: none.",
    )
    log_lines_per_lease: int = Field(
        default=10_000, ge=100, le=1_000_000, description="Lines that are kept of one lease's log."
    )
    log_bytes_per_lease: int = Field(
        default=4 << 20, ge=64 << 10, le=1 << 30, description="Bytes that are kept of one."
    )
    usage_days: int = Field(
        default=180,
        ge=35,
        le=4000,
        description="Usage is kept so many days, then its partition is dropped; bills stay.",
    )
    log_days: int = Field(
        default=7, ge=1, le=365, description="A lease's log is kept so long after its last line."
    )
    maintenance_notice_seconds: int = Field(
        default=14_400,
        ge=0,
        le=30 * 86_400,
        description="Maintenance announced later counts against a node; from so long before it"
        " nothing new is placed there.",
    )
    check_seconds: int = Field(
        default=86_400, ge=0, description="Mean time between two checks of idle GPUs; 0: none."
    )
    check_shadow_days: int = Field(
        default=7, ge=0, le=365, description="A kind of check runs in shadow mode so long first."
    )
    check_image: str = Field(
        default="",
        max_length=300,
        description="Image with torch for CUDA that checks real GPUs, such as"
        " vllm/vllm-openai:v0.11.0; empty: real ones are not checked.",
    )
    volume_grace_days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="Volumes of an account without credit are kept so long.",
    )
    pod_domain: str = Field(
        default="localhost",
        max_length=180,
        description="Pods are reached at <pod>-<port>.<this>; their front reads the same name.",
    )
    pod_front_port: int = Field(
        default=8081, ge=0, le=65535, description="Port of the front of pods, in their addresses."
    )
    ssh_port: int = Field(
        default=2222, ge=0, le=65535, description="Port of the front for ssh, in what people type."
    )
    public_pods_url: str = Field(
        default="",
        description="Address of the front where people reach it, such as https://pods.example.com;"
        " without it http://POD_DOMAIN:POD_FRONT_PORT.",
    )
    public_ssh: str = Field(
        default="",
        max_length=255,
        pattern=r"^([A-Za-z0-9.-]+(:[0-9]{1,5})?)?$",
        description="host:port where people reach ssh; without it POD_DOMAIN:SSH_PORT.",
    )
    meter_window_seconds: int = Field(
        default=10, ge=1, le=60, description="Length of a settlement window."
    )
    earnings_mature_seconds: int = Field(
        default=604_800,
        ge=0,
        le=31_622_400,
        description="Earnings of bills that are younger are not paid out yet.",
    )
    payout_period: Literal["day", "week", "month"] = Field(
        default="week", description="A provider is paid once in each of these, by UTC."
    )
    witness_wait_seconds: int = Field(
        default=3600,
        ge=0,
        le=604_800,
        description="After a lease's end, its bill waits so long for what its node signed.",
    )
    meter_window_close_seconds_max: int = Field(
        default=120, ge=10, le=600, description="A window waits so long for a silent gateway."
    )

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("jwt_secret_key")
    @classmethod
    def _long_jwt_secret(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value().encode()) < JWT_BYTES_MIN:
            raise ValueError(f"must be at least {JWT_BYTES_MIN} bytes; openssl rand -base64 64")
        return value

    @field_validator("master_key")
    @classmethod
    def _hex_master_key(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if len(text) != 64 or any(c not in "0123456789abcdefABCDEF" for c in text):
            raise ValueError("must be 64 hex digits; openssl rand -hex 32")
        return value

    @field_validator("gateway_token")
    @classmethod
    def _long_gateway_token(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value().encode()) < 32:
            raise ValueError("must be at least 32 bytes; openssl rand -hex 32")
        return value

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr) -> SecretStr:
        schemes = ("postgresql://", "postgres://", "postgresql+asyncpg://")
        if not value.get_secret_value().startswith(schemes):
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("public_brain_url", "public_gateway_url", "public_pods_url")
    @classmethod
    def _address(cls, value: str, field: ValidationInfo) -> str:
        if not value and field.field_name == "public_pods_url":
            return value
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address such as https://api.example.com")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _reached_by_rented_machines(self) -> Self:
        """A machine that cannot speak to the brain would be paid for nothing."""
        keys = self.keys_elsewhere()
        if keys and not self.public_brain_url.startswith("https://"):
            raise ValueError(
                f"PUBLIC_BRAIN_URL must begin with https://, and be reached from rented machines,"
                f" where {keys[0].upper()} is set; unset the key otherwise."
            )
        return self

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        if self.environment is Environment.PRODUCTION:
            found = unsafe_in_production(self)
            if found:
                raise ValueError(" ".join(found))
        return self


def unsafe_in_production(settings: Settings) -> list[str]:
    """One sentence for every setting that production does not start with."""
    found: list[str] = []
    if settings.debug:
        found.append("DEBUG must be off in production.")
    if settings.use_mock_providers:
        found.append("USE_MOCK_PROVIDERS must be off in production.")
    if settings.demo_account:
        found.append("DEMO_ACCOUNT must be off in production: its password is known.")
    for name in ("public_brain_url", "public_gateway_url"):
        if not getattr(settings, name).startswith("https://"):
            found.append(f"{name.upper()} must begin with https:// in production.")
    accounts = (settings.runpod_api_key, settings.vast_api_key, settings.lambda_api_key)
    if any(accounts) and "cloud_boot_image" not in settings.model_fields_set:
        found.append("CLOUD_BOOT_IMAGE must name your image where a cloud is used.")
    if any("*" in origin for origin in settings.cors_origins):
        found.append("CORS_ORIGINS must name each origin in production; '*' lets any page in.")
    secrets = {
        name: getattr(settings, name).get_secret_value()
        for name in ("jwt_secret_key", "master_key", "gateway_token")
    }
    found += [
        f"{name.upper()} is weak: take a random one; openssl rand -hex 64"
        for name, text in secrets.items()
        if weak(text)
    ]
    if len(set(secrets.values())) < len(secrets):
        found.append("JWT_SECRET_KEY, MASTER_KEY and GATEWAY_TOKEN must differ from each other.")
    return found


def weak(secret: str) -> bool:
    """Few different characters, a repeated pattern, or a word that stands in examples."""
    if len(set(secret)) < 10:
        return True
    if any(word in secret.casefold() for word in WEAK_WORDS):
        return True
    return any(
        secret == (secret[:length] * (len(secret) // length + 1))[: len(secret)]
        for length in range(1, len(secret) // 2 + 1)
    )


def load() -> Settings:
    """The settings of this process, or ``UnsafeSettings`` with a sentence for every fault."""
    try:
        return Settings()
    except ValidationError as error:
        raise UnsafeSettings(_sentences(error)) from None


def _sentences(error: ValidationError) -> list[str]:
    found: list[str] = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        message = one["msg"].removeprefix("Value error, ")
        name = ".".join(str(part) for part in one["loc"]).upper()
        if one["type"] == "missing":
            found.append(f"{name} is not set: {Settings.model_fields[name.lower()].description}")
        elif name:
            found.append(f"{name} {message}.")
        else:
            found.append(message)
    return found
