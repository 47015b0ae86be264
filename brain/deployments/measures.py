"""What ready workers show of the memory that their model takes, kept for the next placement."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from brain import fleet
from brain.deployments.models import Deployment, ModelMeasure, Replica
from brain.plumbing import Tx
from catalog import Measured, Started, Template, surplus, use_of


async def learn(
    tx: Tx, template: Template, deployment: Deployment, row: Replica, lease: fleet.LeaseView
) -> None:
    """Keep what a ready worker shows; the newest counts. Nothing is learnt from simulated GPUs."""
    kind = await fleet.gpus_of(tx, lease.lease_id)
    if kind is None or kind.simulated:
        return
    use = use_of(template, context=deployment.context, concurrency=deployment.concurrency)
    seen = Started(row.gpus, kind.name, kind.memory_mib, lease.kv_tokens)
    found = surplus(template, use, seen)
    if found is None:
        return
    values = {"mib": found.mib, "how": found.how, "replica_id": row.replica_id}
    values["measured_ns"] = row.state_ns
    kept = insert(ModelMeasure).values(model=template.id, gpus=found.gpus, **values)
    await tx.execute(
        kept.on_conflict_do_update(
            index_elements=["model", "gpus"],
            set_=values,
            where=ModelMeasure.measured_ns < kept.excluded.measured_ns,
        )
    )


async def corrected(tx: Tx, *templates: Template) -> list[Template]:
    """The templates with what their starts have shown."""
    names = [template.id for template in templates]
    rows = await tx.scalars(select(ModelMeasure).where(ModelMeasure.model.in_(names)))
    found: dict[str, list[Measured]] = {}
    for row in rows:
        one = Measured(gpus=row.gpus, mib=row.mib, how=row.how)
        found.setdefault(row.model, []).append(one)
    return [
        one.model_copy(update={"measured": tuple(found[one.id])}) if one.id in found else one
        for one in templates
    ]
