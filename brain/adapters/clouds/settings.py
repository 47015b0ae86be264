"""The settings of all cloud adapters; the brain's settings include them under the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings

KEY_END = "_api_key"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def _empty_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _fits_a_header(value: SecretStr | None) -> SecretStr | None:
    text = "" if value is None else value.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text or len(text) > 500:
        raise ValueError("must be one word of printable ASCII, at most 500 characters")
    return value


def _safe_for_a_key(value: str) -> str:
    parts = urlsplit(value)
    near = parts.hostname in _LOOPBACK
    if not parts.hostname or parts.scheme not in ({"http", "https"} if near else {"https"}):
        raise ValueError("must begin with https:// (http:// only to this machine)")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must have no user, password, query or fragment")
    return value.rstrip("/")


Key = Annotated[SecretStr | None, BeforeValidator(_empty_is_none), AfterValidator(_fits_a_header)]
Root = Annotated[str, AfterValidator(_safe_for_a_key)]


class CloudSettings(BaseSettings):
    """A cloud takes part when its key is set. Keys travel over https, or to this machine."""

    use_mock_providers: bool = Field(
        default=False, description="Emulators instead of outside services. Never in production."
    )
    fake_cloud_dir: Path = Field(
        default=Path(".ganglion/fake-cloud"),
        description="Where the fake cloud of USE_MOCK_PROVIDERS keeps its machines.",
    )
    fake_cloud_faults: str = Field(
        default="",
        max_length=1000,
        description="How the fake cloud fails: call:fault*times, commas between.",
    )
    cloud_boot_image: str = Field(
        default="docker.io/library/python:3.11",
        max_length=300,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
        description="What rented containers start from: the agent's needs and the engine.",
    )
    runpod_api_key: Key = Field(
        default=None, description="Account at RunPod; a key that may read and write pods."
    )
    runpod_api: Literal["rest", "graphql"] = Field(
        default="rest", description="Which of RunPod's interfaces is used: rest (v2) or graphql."
    )
    runpod_api_base_url: Root = Field(
        default="https://api.runpod.io/v2", description="Root of RunPod's REST v2."
    )
    runpod_graphql_url: Root = Field(
        default="https://api.runpod.io/graphql", description="RunPod's GraphQL, also for balance."
    )
    vast_api_key: Key = Field(default=None, description="Account at Vast.ai.")
    vast_url: Root = Field(default="https://console.vast.ai", description="Root of Vast.ai's API.")
    lambda_api_key: Key = Field(default=None, description="Account at Lambda.")
    lambda_cloud_base_url: Root = Field(
        default="https://cloud.lambda.ai", description="Root of Lambda's API, without /api/v1."
    )

    def keys_elsewhere(self) -> list[str]:
        """The keys that are set for clouds outside of this machine, by their settings' names."""
        found = []
        for name in type(self).model_fields:
            if not name.endswith(KEY_END) or getattr(self, name) is None:
                continue
            cloud = name.removesuffix(KEY_END)
            roots = [
                getattr(self, other)
                for other in type(self).model_fields
                if other.startswith(f"{cloud}_") and other.endswith("_url")
            ]
            if any(urlsplit(root).hostname not in _LOOPBACK for root in roots):
                found.append(name)
        return found
