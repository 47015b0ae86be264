"""The fleet in Prometheus's form: counts by state, and one node's readings by the switch.

No label has a value of a tenant's choosing. ``/metrics`` has none that grows with the fleet;
``/metrics/nodes`` has (node, GPU), and is cut into shards of at most ``NODES_MAX`` nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from brain import billing, fleet
from brain.plumbing import Ctx
from brain.plumbing.queues import queues
from kernel.clock import NS
from kernel.errors import BadInput
from kernel.ids import NodeId
from kernel.wire.agent import GpuReading

FRESH_NS = 5 * NS  # two scrapes within it cost one look
NODES_MAX = 1000
SHARDS_MAX = 1000
_UNLABELLED = ("ganglion_beat_age_seconds_max", "ganglion_usage_parked")  # nothing to take away


@dataclass
class FleetGauges:
    """Gauges that are set from the database when somebody scrapes."""

    registry: CollectorRegistry
    _at_ns: int | None = None
    _gauges: dict[str, Gauge] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, said, labels in (
            ("ganglion_nodes", "Nodes that are not revoked, by state.", ("state",)),
            ("ganglion_gpus", "GPUs of nodes that are not revoked, by state.", ("state",)),
            ("ganglion_leases", "Leases that are not closed, by state.", ("state",)),
            ("ganglion_beat_age_seconds_max", "Age of the oldest beat of nodes not silent.", ()),
            (
                "ganglion_proof_broken",
                "What breaks a law of the books; 0: it holds.",
                ("proof",),
            ),
            ("ganglion_usage_parked", "Pieces of usage that are kept and not counted.", ()),
            ("ganglion_queue_due", "Rows that are due for a reconciler.", ("queue",)),
            ("ganglion_queue_age_seconds", "For how long the oldest of them is due.", ("queue",)),
        ):
            self._gauges[name] = Gauge(name, said, labels, registry=self.registry)

    async def refresh(self, ctx: Ctx) -> None:
        """Set them anew. Raises what the database raises; then ``forget``."""
        now_ns = ctx.clock.monotonic_ns()
        if self._at_ns is not None and now_ns - self._at_ns < FRESH_NS:
            return
        async with ctx.db.begin() as tx:
            found = await fleet.figures(tx, ctx.clock.now_ns())
            waiting = await queues(tx, ctx.clock.now())
            proofs = await billing.proof_states(tx)
            parked = await billing.parked_count(tx)
        for name, counts in (
            ("ganglion_nodes", found.nodes),
            ("ganglion_gpus", found.gpus),
            ("ganglion_leases", found.leases),
        ):
            for state, count in counts.items():
                self._gauges[name].labels(state).set(count)
        self._gauges["ganglion_beat_age_seconds_max"].set(found.beat_age_seconds_max)
        self._gauges["ganglion_usage_parked"].set(parked)
        for proof in proofs:
            self._gauges["ganglion_proof_broken"].labels(proof.name).set(proof.broken)
        for queue in waiting:
            self._gauges["ganglion_queue_due"].labels(queue.name).set(queue.due)
            self._gauges["ganglion_queue_age_seconds"].labels(queue.name).set(queue.age_seconds)
        self._at_ns = now_ns

    def forget(self) -> None:
        """Nothing is known now: an old figure would pass for a new one."""
        self._at_ns = None
        for name, gauge in self._gauges.items():
            if name in _UNLABELLED:
                gauge.set(float("nan"))
            else:
                gauge.clear()


async def nodes_text(ctx: Ctx, telemetry: fleet.Telemetry, *, shard: int, shards: int) -> bytes:
    """The newest readings of one share of the nodes. Raises ``BadInput`` when it is too large."""
    if not 0 <= shard < shards <= SHARDS_MAX:
        raise BadInput(f"'shard' is from 0 to 'shards' less 1; 'shards' at most {SHARDS_MAX}.")
    async with ctx.db.begin() as tx:
        ids = await fleet.heard_nodes(tx, shard=shard, shards=shards, limit=NODES_MAX + 1)
    if len(ids) > NODES_MAX:
        raise BadInput(f"That is more than {NODES_MAX} nodes a scrape: ask for more 'shards'.")
    last = await telemetry.last([NodeId(one) for one in ids])
    registry = CollectorRegistry()
    registry.register(_Readings(last, ctx.clock.now_ns()))
    return generate_latest(registry)


_GPU_FIGURES: tuple[tuple[str, str, str, float], ...] = (
    ("utilisation_ratio", "utilisation_percent", "Share of the time that it computed.", 0.01),
    ("memory_used_bytes", "memory_used_mib", "Memory in use.", 1 << 20),
    ("memory_total_bytes", "memory_total_mib", "Memory in all.", 1 << 20),
    ("power_watts", "power_mw", "Power drawn.", 0.001),
    ("power_limit_watts", "power_limit_mw", "Power allowed now.", 0.001),
    ("energy_joules", "energy_mj", "Energy since its driver was loaded.", 0.001),
    ("temperature_celsius", "temperature_c", "Temperature of the core.", 1),
    ("memory_temperature_celsius", "memory_temperature_c", "Temperature of the memory.", 1),
    ("sm_clock_hertz", "sm_clock_mhz", "Clock of the multiprocessors.", 1e6),
    ("memory_clock_hertz", "memory_clock_mhz", "Clock of the memory.", 1e6),
    ("ecc_uncorrected", "ecc_uncorrected", "Uncorrected errors since the driver was loaded.", 1),
    ("ecc_corrected", "ecc_corrected", "Corrected errors since the driver was loaded.", 1),
    ("pcie_replays", "pcie_replays", "PCIe replays since the driver was loaded.", 1),
    ("processes", "process_count", "Processes that compute on it.", 1),
)


class _Readings:
    """A collector over last beats; made for one scrape."""

    def __init__(self, last: dict[NodeId, fleet.LastBeat], now_ns: int) -> None:
        self._last = last
        self._now_ns = now_ns

    def collect(self) -> Iterable[Metric]:
        labels = ["node", "gpu"]
        for name, field_, said, factor in _GPU_FIGURES:
            family = GaugeMetricFamily(f"ganglion_gpu_{name}", said, labels=labels)
            for node_id, gpu in self._gpus():
                value = getattr(gpu, field_)
                if value is not None:
                    family.add_metric([node_id, gpu.uuid], value * factor)
            yield family
        lost = GaugeMetricFamily("ganglion_gpu_lost", "1: the driver lost it.", labels=labels)
        xids = GaugeMetricFamily("ganglion_gpu_xids", "XIDs since the boot.", labels=labels)
        bad = GaugeMetricFamily(
            "ganglion_gpu_health", "0 ok, 1 degraded, 2 bad and not sold.", labels=labels
        )
        for node_id, gpu in self._gpus():
            lost.add_metric([node_id, gpu.uuid], int(gpu.lost))
            xids.add_metric([node_id, gpu.uuid], sum(gpu.xids.values()))
            level = list(fleet.Level).index(fleet.judge_gpu(gpu).level)
            bad.add_metric([node_id, gpu.uuid], level)
        yield from (lost, xids, bad)
        age = GaugeMetricFamily("ganglion_node_beat_age_seconds", "Age.", labels=["node"])
        cpu = GaugeMetricFamily("ganglion_node_cpu_ratio", "Processors in use.", labels=["node"])
        for node_id, beat in self._last.items():
            age.add_metric([node_id], max(0, self._now_ns - beat.at_ns) / NS)
            cpu.add_metric([node_id], beat.beat.host.cpu_percent / 100)
        yield from (age, cpu)

    def _gpus(self) -> Iterable[tuple[str, GpuReading]]:
        for node_id, last in self._last.items():
            for gpu in last.beat.gpus:
                yield str(node_id), gpu
