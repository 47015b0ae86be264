"""The fake cloud of USE_MOCK_PROVIDERS: development and tests, never production."""

from brain.adapters.clouds.fake.cloud import FakeCloud, Pace
from brain.adapters.clouds.fake.faults import Fault, read_faults
from brain.adapters.clouds.settings import CloudSettings
from kernel.clock import Clock

__all__ = ["FakeCloud", "Fault", "Pace", "open_cloud"]


def open_cloud(settings: CloudSettings, clock: Clock) -> FakeCloud | None:
    """The fake cloud, where emulators stand in for outside services."""
    if not settings.use_mock_providers:
        return None
    try:
        faults = read_faults(settings.fake_cloud_faults)
    except ValueError as wrong:
        raise ValueError(f"FAKE_CLOUD_FAULTS {wrong}.") from None
    return FakeCloud(settings.fake_cloud_dir, clock, faults=faults)
