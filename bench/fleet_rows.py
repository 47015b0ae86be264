"""Nodes in bulk for measurements: rows as the product writes them, without a thousand calls."""

from __future__ import annotations

from sqlalchemy import text

from brain.plumbing import Ctx, Db
from kernel.clock import SystemClock
from kernel.ids import AccountId, NodeId, SystemIds

START = "bench-start"
BOOT = "bench-boot"


def system_ctx(url: str, *, pool_size: int = 10) -> Ctx:
    clock = SystemClock()
    return Ctx(db=Db(url, pool_size=pool_size), clock=clock, ids=SystemIds(clock))


async def add_nodes(ctx: Ctx, count: int, *, gpus: int = 8) -> list[NodeId]:
    """``count`` listed nodes that were heard just now, each with ``gpus`` free GPUs."""
    nodes = [ctx.ids.new(NodeId) for _ in range(count)]
    at, now_ns = ctx.clock.now(), ctx.clock.now_ns()
    account = ctx.ids.new(AccountId)
    async with ctx.db.begin() as tx:
        await tx.execute(
            text("INSERT INTO provider VALUES (:account, 'bench', :at)"),
            {"account": account, "at": at},
        )
        values = {"account": account, "at": at, "ns": now_ns, "nodes": [str(n) for n in nodes]}
        for statement in (
            "INSERT INTO node (node_id, account_id, name, public_key, price_nano, listed,"
            " rented, region, created_at) SELECT id, :account, 'bench', id, 500000000, true, false,"
            " '', CAST(:at AS timestamptz) FROM unnest(CAST(:nodes AS text[])) AS id",
            "INSERT INTO fleet_node (node_id, generation, epoch, xid, host_boot_id,"
            " agent_start_id, agent_version, engine, nvml, quarantined)"
            f" SELECT id, 1, 0, 0, '{BOOT}', '{START}', '1', 'process', 'ok', ''"
            " FROM unnest(CAST(:nodes AS text[])) AS id",
            f"INSERT INTO node_beat SELECT id, '{START}', 0, :ns, 0"
            " FROM unnest(CAST(:nodes AS text[])) AS id",
            "INSERT INTO node_gpu SELECT id, id || '-' || place, place, 'NVIDIA L4', 23034,"
            " false, false, false, '' FROM unnest(CAST(:nodes AS text[])) AS id,"
            f" generate_series(0, {gpus - 1}) AS place",
        ):
            names = {name: values[name] for name in values if f":{name}" in statement}
            await tx.execute(text(statement), names)
        await tx.execute(text("ANALYZE node, fleet_node, node_beat, node_gpu, lease, lease_gpu"))
    return nodes
