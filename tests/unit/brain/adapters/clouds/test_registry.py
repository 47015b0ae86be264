"""Clouds are registered by one line, found in a clone, and opened when there is an account."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from brain.adapters.clouds import CloudSettings, open_clouds
from brain.adapters.clouds.registry import registered
from brain.adapters.clouds.runpod import GraphQLRunPod, RestRunPod
from brain.clouds import HasBalance, HasEndpoints, HasLogs, HasStop, HasVolumes
from kernel.clock import ManualClock

pytestmark = pytest.mark.feature("B8")
ROOM = Path(__file__).resolve().parents[5] / "brain" / "adapters" / "clouds"


def settings(**given: Any) -> CloudSettings:
    unset = {name: None for name in CloudSettings.model_fields if name.endswith("_api_key")}
    return CloudSettings.model_validate({**unset, "use_mock_providers": False, **given})


def test_every_folder_is_registered_and_every_registration_loads() -> None:
    folders = {path.parent.name.rstrip("_") for path in ROOM.glob("*/__init__.py")}
    assert set(registered()) == folders
    assert all(callable(point.load()) for point in registered().values())


def test_without_accounts_there_is_no_cloud(clock: ManualClock) -> None:
    assert open_clouds(settings(), clock) == {}


def test_a_key_opens_its_cloud_and_the_mock_setting_the_fake_one(
    clock: ManualClock, tmp_path: Path
) -> None:
    key = SecretStr(f"key-{random.Random(1).random()}")
    found = open_clouds(
        settings(
            runpod_api_key=key,
            vast_api_key=key,
            lambda_api_key=key,
            use_mock_providers=True,
            fake_cloud_dir=tmp_path,
        ),
        clock,
    )
    assert sorted(found) == ["fake", "lambda", "runpod", "vast"]
    assert key.get_secret_value() not in repr(found)


@pytest.mark.parametrize(("which", "kind"), [("rest", RestRunPod), ("graphql", GraphQLRunPod)])
def test_runpod_speaks_the_interface_that_is_set(
    clock: ManualClock, which: str, kind: type
) -> None:
    opened = open_clouds(settings(runpod_api_key="k", runpod_api=which), clock)["runpod"]
    assert type(opened) is kind
    for can in (HasStop, HasVolumes, HasEndpoints, HasBalance):
        assert isinstance(opened, can)
    assert isinstance(opened, HasLogs) == (which == "rest")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.runpod.io/v2",
        "ftp://127.0.0.1/",
        "https://user:pass@cloud.example/",
        "https://cloud.example/?api_key=x",
        "//cloud.example",
        "",
    ],
)
def test_a_key_goes_over_https_or_to_this_machine_alone(url: str) -> None:
    with pytest.raises(ValidationError):
        settings(runpod_api_base_url=url)
    assert settings(vast_url="http://127.0.0.1:9000/").vast_url == "http://127.0.0.1:9000"


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "snow\N{SNOWMAN}", "x" * 501])
def test_a_key_that_fits_no_header_is_refused_unseen(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(runpod_api_key=key)
    assert "must be one word" in str(caught.value)


def test_an_empty_key_is_none() -> None:
    assert settings(vast_api_key=" ").vast_api_key is None


def test_faults_of_the_fake_cloud_that_mean_nothing_are_refused(
    clock: ManualClock, tmp_path: Path
) -> None:
    wrong = settings(use_mock_providers=True, fake_cloud_dir=tmp_path, fake_cloud_faults="x:y")
    with pytest.raises(ValueError, match="call:fault"):
        open_clouds(wrong, clock)
