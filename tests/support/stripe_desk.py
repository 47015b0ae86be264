"""The emulated Stripe as a real process: ``desk = start_stripe("--seed", "1")``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
import stripe

from tests.support import warm
from tests.support.warm import Forked

STOP_SECONDS_MAX = 60


@dataclass(frozen=True)
class StripeDesk:
    """A running emulated Stripe."""

    url: str
    point: dict[str, str]  # the product's settings for it
    process: Forked

    def client(self, retries: int = 0, key: str = "") -> Any:
        """The official client, pointed here; its calls are below ``.v1``."""
        addresses: Any = {"api": self.url}
        made = stripe.StripeClient(
            key or self.point["STRIPE_API_KEY"],
            base_addresses=addresses,
            max_network_retries=retries,
        )
        return made.v1

    def own(self, place: str, method: str = "POST", **body: Any) -> Any:
        """One of the stand-in's own routes."""
        answer = httpx.request(method, f"{self.url}/_stand-in/{place}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def fail(self, **fault: Any) -> None:
        self.own("faults", **fault)

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(STOP_SECONDS_MAX)
        assert self.process.stdout is not None, "opened as a pipe"
        self.process.stdout.close()
        return code


def start_stripe(*options: str) -> StripeDesk:
    """Start one on a free port and wait for its readiness line."""
    pace = ["--calls-per-second", "0"] if "--calls-per-second" not in options else []
    process = warm.start_that_says("stripe", ["--port", "0", *options, *pace])
    assert process.stdout is not None, "opened as a pipe"
    line = process.stdout.readline()
    assert line, f"the stand-in did not start; exit code {process.wait(STOP_SECONDS_MAX)}"
    ready = json.loads(line)
    return StripeDesk(ready["point"]["STRIPE_API_BASE"], ready["point"], process)
