"""Rows as people see them: gathered with what their leases cost, and shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from brain import billing, deployments, fleet
from brain.clouds import Endpoint
from brain.deployments import Run
from brain.plumbing import Tx
from brain.pods import schemas, store, volumes
from brain.pods.models import Registry, SshKey, StrayVolume, Volume
from brain.pods.service import Whole, at_cloud
from brain.pods.states import LIVE_VOLUMES, PodState, VolumeState
from brain.provisioning import AtCloud
from kernel.money import Money

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Front:
    """Where people reach pods: ``http(s)://host[:port]``, ``host[:port]`` of ssh."""

    url: str
    ssh: str

    def port_url(self, slug: str, port: int) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{slug}-{port}.{rest}"

    def ssh_line(self, slug: str) -> str:
        host, _, port = self.ssh.partition(":")
        return f"ssh {slug}@{host}" + (f" -p {port}" if port and port != "22" else "")


def at_ns(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


def _at(ns: int | None) -> datetime | None:
    return None if ns is None else at_ns(ns)


def plain(nano: int) -> str:
    """Dollars as a plain decimal: no sign, no thousands' commas."""
    return str(Money(nano)).replace("$", "").replace(",", "")


def _limit(nano: int | None) -> str | None:
    return None if nano is None else plain(nano)


async def show_pod(tx: Tx, found: Whole, front: Front) -> schemas.PodOut:
    """With what it cost so far, and what its present run costs."""
    pod, runs, own = found.pod, found.runs, found.runs.launch
    launch, run = own.launch, runs.run
    spent = await billing.spending(tx, pod.deployment_id)
    kept = [row for row in found.volumes if VolumeState(row.state) is VolumeState.KEPT]
    there = await at_cloud(tx, runs)
    return schemas.PodOut(
        pod_id=str(pod.pod_id),
        slug=pod.slug,
        name=pod.name,
        state=found.state.value,
        reason=_reason(found),
        asked=runs.asked.value,
        asked_reason=runs.asked_reason,
        failed_reason=runs.broken_reason,
        image=launch.image,
        command=launch.command,
        arguments=launch.arguments,
        env=sorted(launch.environment),
        secrets=pod.secrets,
        registry_id=None if pod.registry_id is None else str(pod.registry_id),
        ports=[
            schemas.PortOut(port=port, url=None if there else front.port_url(pod.slug, port))
            for port in launch.ports
        ],
        ssh=front.ssh_line(pod.slug) if launch.shell and not there else None,
        ssh_keys=len(await store.ssh_keys(tx, pod.account_id)),
        reachable=found.state is PodState.RUNNING
        and run is not None
        and run.serves
        and there is None,
        clouds=own.clouds,
        agent=_agent(run, there),
        cloud=there.cloud if there else None,
        endpoints=_endpoints(there),
        notice=notice(there) if there else "",
        gpus=own.gpus,
        gpu=runs.gpu,
        min_vram_gib=own.vram_mib // 1024,
        simulated=own.simulated,
        disk_gib=own.disk_gib,
        volumes=_mounts(found),
        run=None if run is None else await _show_run(tx, run),
        max_price_usd_per_gpu_hour=_limit(runs.price_max_nano),
        budget_usd=_limit(runs.budget_nano),
        max_duration_seconds=runs.max_duration_seconds,
        cost_usd=plain(spent.nano),
        cost_usd_per_hour=plain(spent.hourly_nano),
        storage_usd_per_hour=plain(sum(row.price_nano * row.size_gib for row in kept)),
        created_at=pod.created_at,
        ended_at=_at(pod.ended_ns),
    )


def notice(there: AtCloud) -> str:
    """What a run without our agent lacks, and where to look instead."""
    return (
        f"It runs at {there.cloud} without our agent: its addresses are the cloud's own, and it has"
        " no stable URL, SSH, logs or statistics of ours."
    )


def _agent(run: Run | None, there: AtCloud | None) -> Literal["ours", "none"] | None:
    if run is None or not run.live or run.lease_id is None:
        return None
    return "none" if there else "ours"


def _endpoints(there: AtCloud | None) -> list[schemas.EndpointOut]:
    """Those that its owner can use: the cloud's go-between knows the keys of our account alone."""
    return [
        schemas.EndpointOut(
            port=one.port,
            kind=one.kind,
            host=one.host,
            public_port=one.public_port,
            user=one.user,
            address=_address(one),
        )
        for one in (there.endpoints if there else ())
        if not one.shared
    ]


def _address(one: Endpoint) -> str:
    if one.kind == "http":
        return f"https://{one.host}"
    if one.kind == "ssh":
        return f"ssh {one.user or 'root'}@{one.host} -p {one.public_port}"
    return f"{one.host}:{one.public_port}"


def _reason(found: Whole) -> str:
    """Why it is in this state, in one sentence."""
    run = found.runs.run
    match found.state:
        case PodState.TERMINATING | PodState.TERMINATED:
            return found.pod.state_reason
        case PodState.FAILED:
            return found.runs.broken_reason or ""
        case PodState.STOPPED | PodState.STOPPING:
            return found.runs.asked_reason
        case PodState.WAITING | PodState.STARTING | PodState.RUNNING:
            return "" if run is None or not run.live else run.waiting_reason or run.reason


def _mounts(found: Whole) -> list[schemas.MountOut]:
    rows = {str(row.volume_id): row for row in found.volumes}
    shown = []
    for mount in found.runs.launch.launch.volumes:
        row = rows.get(mount.volume_id)
        shown.append(
            schemas.MountOut(
                volume_id=mount.volume_id,
                name="" if row is None else row.name,
                path=mount.path,
                size_gib=mount.size_gib,
                state="detached" if row is None else row.state,
            )
        )
    return shown


async def _show_run(tx: Tx, run: Run) -> schemas.RunOut:
    price = None if run.lease_id is None else await billing.lease_price(tx, run.lease_id)
    return schemas.RunOut(
        run_id=str(run.replica_id),
        state=run.state.value,
        reason=run.reason,
        since=at_ns(run.since_ns),
        waiting_reason=run.waiting_reason,
        lease_id=None if run.lease_id is None else str(run.lease_id),
        node_id=None if run.node_id is None else str(run.node_id),
        gpus=run.gpus,
        price_usd_per_gpu_hour=_limit(price),
        placed_at=_at(run.claimed_ns),
        started_at=_at(run.ready_ns),
        ended_at=_at(run.ended_ns),
    )


async def show_volume(tx: Tx, row: Volume, grace_days: int) -> schemas.VolumeOut:
    """With what it was charged; what the hour under way costs is not on the bill yet."""
    live = VolumeState(row.state) in LIVE_VOLUMES
    billed = row.state == VolumeState.KEPT.value and row.grace_ns is None
    lapses = (
        None if row.grace_ns is None or not live else volumes.lapses_ns(row.grace_ns, grace_days)
    )
    return schemas.VolumeOut(
        volume_id=str(row.volume_id),
        name=row.name,
        size_gib=row.size_gib,
        used_mib=row.used_mib,
        state=row.state,
        reason=row.state_reason,
        pod_id=None if row.pod_id is None else str(row.pod_id),
        node_id=None if row.node_id is None else str(row.node_id),
        price_usd_per_gib_hour=plain(row.price_nano),
        cost_usd=plain((await billing.storage_cost(tx, row.volume_id)).nano),
        cost_usd_per_hour=plain(row.price_nano * row.size_gib if billed else 0),
        created_at=row.created_at,
        found_at=_at(row.found_ns),
        seen_at=_at(row.seen_ns),
        lapses_at=_at(lapses),
    )


def show_stray(row: StrayVolume) -> schemas.StrayOut:
    return schemas.StrayOut(
        node_id=str(row.node_id),
        volume_id=row.volume_id,
        used_mib=row.used_mib,
        first_at=at_ns(row.first_ns),
        seen_at=at_ns(row.seen_ns),
    )


def show_key(row: SshKey) -> schemas.SshKeyOut:
    return schemas.SshKeyOut(
        ssh_key_id=str(row.ssh_key_id),
        name=row.name,
        fingerprint=row.fingerprint,
        public_key=row.line,
        created_at=row.created_at,
    )


def show_registry(row: Registry) -> schemas.RegistryOut:
    return schemas.RegistryOut(
        registry_id=str(row.registry_id),
        name=row.name,
        server=row.server,
        username=row.username,
        created_at=row.created_at,
    )


async def show_why(tx: Tx, found: Whole) -> schemas.PodWhyOut:
    """The last plan, and what it waits for now."""
    kept = await deployments.own_placement(tx, found.pod.deployment_id)
    waiting = [run.waiting_reason for run in found.runs.runs if run.live and run.waiting_reason]
    return schemas.PodWhyOut(
        pod_id=str(found.pod.pod_id),
        outcome="No place was looked for yet." if kept is None else kept.outcome,
        planned_at=None if kept is None else at_ns(kept.at_ns),
        waiting=waiting,
        candidates=[] if kept is None else kept.candidates,
        candidate_count=0 if kept is None else kept.candidate_count,
    )


def show_stats(found: Whole, seen: fleet.LeaseMetrics | None) -> schemas.PodStatsOut:
    usage = None if seen is None or seen.usage is None else seen.usage
    return schemas.PodStatsOut(
        pod_id=str(found.pod.pod_id),
        state=found.state.value,
        seen_at=None if seen is None else at_ns(seen.at_ns),
        restarts=0 if seen is None else seen.restarts,
        pull_done_mib=0 if seen is None else seen.pull_done_mib,
        pull_total_mib=0 if seen is None else seen.pull_total_mib,
        usage=None
        if usage is None
        else schemas.PodUsageOut(
            cpu_percent=usage.cpu_percent,
            memory_used_mib=usage.memory_used_mib,
            memory_limit_mib=usage.memory_limit_mib,
            net_rx_bytes=usage.net_rx_bytes,
            net_tx_bytes=usage.net_tx_bytes,
            block_read_bytes=usage.block_read_bytes,
            block_write_bytes=usage.block_write_bytes,
            processes=usage.pids,
        ),
        gpus=[
            schemas.PodGpuOut(
                uuid=gpu.uuid,
                name=gpu.name,
                utilisation_percent=gpu.utilisation_percent,
                memory_used_mib=gpu.memory_used_mib,
                memory_total_mib=gpu.memory_total_mib,
                temperature_c=gpu.temperature_c,
                power_watts=None if gpu.power_mw is None else gpu.power_mw / 1000,
                simulated=gpu.simulated,
            )
            for gpu in (() if seen is None else seen.gpus)
        ],
    )
