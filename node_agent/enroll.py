"""Joining: a one-use token turns this host into a node of the marketplace."""

from __future__ import annotations

import httpx
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from kernel.clock import Clock
from kernel.errors import BadInput
from kernel.wire.agent import EnrollRequest, GpuReading, HostReading
from node_agent import link
from node_agent.identity import Home, Identity

log = structlog.get_logger(__name__)
TRIES_MAX = 60
WAIT_SECONDS_MAX = 10


async def join(
    home: Home,
    client: httpx.AsyncClient,
    *,
    brain_url: str,
    token: str | None,
    host: HostReading,
    gpus: tuple[GpuReading, ...],
    agent_version: str,
    name: str,
    clock: Clock,
) -> Identity:
    """The node's identity: the saved one, or a new one for the token.

    May be repeated with the same token: the key is saved before the token is sent, so when an
    answer is lost the brain knows the same key again. Waits for a brain that is away; raises
    the brain's own words when it refuses the token.
    """
    known = home.identity()
    if known is not None:
        if token:
            log.info("join_token_unused", node_id=known.node_id, reason="already a node")
        return known
    if not token:
        raise BadInput(
            "This host is not a node yet. Make a join token in the brain"
            " (POST /api/v1/provider/join-tokens) and start the agent with --join-token."
        )
    request = EnrollRequest(
        token=token,
        public_key=home.key().public_hex,
        agent_version=agent_version,
        host=host,
        gpus=list(gpus),
        name=name[:80],
    )
    async for attempt in AsyncRetrying(
        sleep=clock.sleep,
        wait=wait_random_exponential(multiplier=0.5, max=WAIT_SECONDS_MAX),
        stop=stop_after_attempt(TRIES_MAX),
        retry=retry_if_exception_type(link.BrainAway),
        reraise=True,
        before_sleep=lambda state: log.warning("brain_away", tries=state.attempt_number),
    ):
        with attempt:
            answer = await link.enroll(client, request)
    identity = Identity(answer.node_id, answer.installation_id, brain_url, answer.beat_seconds)
    home.save_identity(identity)
    log.info("joined", node_id=identity.node_id, installation_id=identity.installation_id)
    return identity
