"""What the RunPod stand-in keeps beside pods: volumes, SSH keys, serverless jobs."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from standins.clouds.refusals import Refused, Trouble
from standins.clouds.rules import short_id
from standins.clouds.world import World

VOLUMES_MAX = 100
JOBS_MAX = 1000
VOLUME_GB = (10, 4096)


@dataclass(slots=True)
class Volume:
    volume_id: str
    name: str
    size_gb: int
    center: str
    kind: str = "STANDARD"

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.volume_id,
            "name": self.name,
            "size": self.size_gb,
            "dataCenter": self.center,
            "type": self.kind,
        }


@dataclass(slots=True)
class Account:
    """One user of RunPod."""

    world: World
    user_id: str = "user_standin"
    email: str = "stand-in@example.invalid"
    public_keys: list[str] = field(default_factory=list)
    volumes: dict[str, Volume] = field(default_factory=dict)
    jobs: OrderedDict[str, Any] = field(default_factory=OrderedDict)

    def volume(self, volume_id: str) -> Volume:
        found = self.volumes.get(volume_id)
        if found is None:
            raise Refused(Trouble.MISSING, "network volume not found")
        return found

    def make_volume(self, name: str, size_gb: int, center: str, kind: str) -> Volume:
        if len(self.volumes) >= VOLUMES_MAX:
            raise Refused(Trouble.BAD_REQUEST, f"at most {VOLUMES_MAX} network volumes")
        if not VOLUME_GB[0] <= size_gb <= VOLUME_GB[1]:
            raise Refused(Trouble.BAD_REQUEST, "size is 10 to 4096 GB")
        if center not in {stock.region for stock in self.world.stocks.values() if stock.region}:
            raise Refused(Trouble.BAD_REQUEST, f"unknown data center {center[:40]}")
        volume = Volume(short_id(self.world.chance)[:10], name, size_gb, center, kind)
        self.volumes[volume.volume_id] = volume
        return volume

    def remove_volume(self, volume_id: str) -> None:
        self.volume(volume_id)
        del self.volumes[volume_id]

    def run_job(self, body: Any) -> str:
        """A serverless job: it is done at once and gives back what it was given."""
        if not isinstance(body, dict) or "input" not in body:
            raise Refused(Trouble.BAD_REQUEST, "input is required")
        job_id = short_id(self.world.chance) + "-u1"
        self.jobs[job_id] = body["input"]
        while len(self.jobs) > JOBS_MAX:
            self.jobs.popitem(last=False)
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        if job_id not in self.jobs:
            raise Refused(Trouble.MISSING, "job not found")
        return {
            "id": job_id,
            "status": "COMPLETED",
            "delayTime": 1,
            "executionTime": 1,
            "output": {"stand_in": self.jobs[job_id]},
        }
