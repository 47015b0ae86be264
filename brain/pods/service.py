"""Verbs on pods: create, start, stop, terminate. The deployments' reconciler does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from sqlalchemy.exc import IntegrityError

from brain import deployments, fleet, provisioning, secrets
from brain.deployments import OwnLaunch, OwnView, OwnWanted
from brain.plumbing import Ctx, Tx, changes, moves, work
from brain.pods import core, store, volume_store, volumes
from brain.pods.models import Pod, Volume
from brain.pods.states import (
    LIVE_VOLUMES,
    POD,
    PodEvent,
    PodLife,
    PodState,
    VolumeState,
    pod_state,
)
from kernel.errors import BadInput, Conflict, LimitReached
from kernel.ids import AccountId, DeploymentId, PodId, RegistryId
from kernel.money import Money
from kernel.wire.agent import LaunchSpec, VolumeMount

PODS_MAX = 100  # of an account
PRICE_MAX = Money.usd("1000")
START_SECONDS_MAX = 3600  # a big image takes its time
STOP_SECONDS = 30  # for a process to end after it was asked to


@dataclass(frozen=True)
class PodWanted:
    """What the owner asks for; ``registry`` by id or name, ``secrets`` by name."""

    image: str
    name: str | None = None
    command: Sequence[str] = ()
    arguments: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    ports: Sequence[int] = ()
    gpus: int = 1
    gpu: str | None = None
    vram_gib_min: int = 0
    simulated: bool = False
    disk_gib: int = 20
    shm_mib: int = 1024
    memory_gib: int = 0
    mounts: Sequence[volumes.Mount] = ()
    registry: str | None = None
    secrets: Sequence[str] = ()
    ssh: bool = True
    clouds: bool = False  # it may run at a cloud, without our agent
    price_max: Money | None = None
    budget: Money | None = None
    max_duration_seconds: int | None = None
    wishes: deployments.Wishes = field(default_factory=deployments.Wishes)


@dataclass(frozen=True)
class Whole:
    """A pod as it stands: what it is, how it runs, what it keeps."""

    pod: Pod
    runs: OwnView
    volumes: list[Volume]

    @property
    def state(self) -> PodState:
        return pod_state(PodLife(self.pod.state), self.runs.state.value)


async def create(
    tx: Tx,
    ctx: Ctx,
    account_id: AccountId,
    wanted: PodWanted,
    processes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Whole:
    """Write down what is asked. ``processes`` are images that can run as a process as well, where
    nothing else is asked of them. Raises ``BadInput``, ``Conflict``, ``NotFound``,
    ``LimitReached``, ``OutOfCredit``; the pod is placed by the reconciler."""
    image = core.read_image(wanted.image)
    await volumes.check_credit(tx, account_id)
    if await store.count(tx, account_id) >= PODS_MAX:
        raise LimitReached(f"The account has {PODS_MAX} pods. Terminate some first.")
    pod_id = ctx.ids.new(PodId)
    slug = core.slug_of(pod_id)
    name = core.check_name(wanted.name) if wanted.name else slug
    if await store.name_taken(tx, account_id, name):
        raise _name_taken(name)
    pod = Pod(
        pod_id=pod_id,
        slug=slug,
        account_id=account_id,
        name=name,
        registry_id=await _registry(tx, account_id, wanted.registry, image),
        secrets=list(secrets.check_names(wanted.secrets)),
        delete_volumes=False,
        created_at=ctx.clock.now(),
    )
    paths = core.check_paths([mount.path for mount in wanted.mounts])
    kept = await volumes.attach(tx, ctx, pod, wanted.mounts)
    launch = _launch(pod, image, wanted, kept, paths)
    if not (launch.command or launch.arguments or launch.volumes or launch.secrets):
        launch.process = list(processes.get(image.reference, ()))
    pod.deployment_id = await deployments.create_own(tx, ctx, account_id, _own(pod, launch, wanted))
    try:
        await moves.create(tx, pod, POD, reason="asked for", at=ctx.clock.now())
    except IntegrityError as error:
        raise _name_taken(name) from error
    await _pin(tx, pod, kept)
    await changes.mark(tx, "pod", pod_id)
    return await whole(tx, pod)


async def start(tx: Tx, ctx: Ctx, pod: Pod) -> Whole:
    """Ask it to run again, where its volumes lie, or anywhere. May be repeated. The caller holds
    the pod."""
    _check_kept(pod)
    await volumes.check_credit(tx, pod.account_id)
    for row in await volume_store.of_pod(tx, pod.pod_id):
        if VolumeState(row.state) not in LIVE_VOLUMES:
            raise Conflict(
                f"Its volume {row.name} is {row.state}: {row.state_reason}. Terminate this pod"
                " and create another.",
                code="volume_gone",
            )
    await deployments.start_own(tx, ctx, pod.deployment_id)
    return await whole(tx, pod)


async def stop(tx: Tx, ctx: Ctx, pod: Pod, reason: str = "asked") -> Whole:
    """Ask for the end of its container; id, URL, SSH and volumes stay. May be repeated."""
    _check_kept(pod)
    await deployments.stop_own(tx, ctx, pod.deployment_id, reason)
    return await whole(tx, pod)


async def terminate(tx: Tx, ctx: Ctx, pod: Pod, *, delete_volumes: bool) -> Whole:
    """End it for ever. Its volumes stay, unless their end is asked for as well. May be repeated;
    the end of the volumes may be added while it ends, and is never taken back."""
    if pod.state == PodLife.TERMINATED.value:
        return await whole(tx, pod)
    pod.delete_volumes = pod.delete_volumes or delete_volumes
    await tx.flush()
    if pod.state == PodLife.KEPT.value:
        await moves.move(tx, pod, POD, PodEvent.TERMINATE, reason="asked", at=ctx.clock.now())
        await deployments.stop_own(tx, ctx, pod.deployment_id, "the pod is terminated")
    await work.nudge(tx, Pod, pod.pod_id, ctx.clock.now())
    return await whole(tx, pod)


async def whole(tx: Tx, pod: Pod) -> Whole:
    return (await wholes(tx, [pod]))[0]


async def wholes(tx: Tx, pods: Sequence[Pod]) -> list[Whole]:
    """Each pod with its runs and its volumes."""
    views = await deployments.own_views(tx, [pod.deployment_id for pod in pods])
    return [
        Whole(pod, views[pod.deployment_id], await volume_store.of_pod(tx, pod.pod_id))
        for pod in pods
    ]


async def unclosed(tx: Tx, runs: OwnView) -> fleet.LeaseView | None:
    """A lease of it whose end is not proved; None: nothing of it can be running."""
    for run in runs.runs:
        if run.lease_id is not None:
            lease = await fleet.lease(tx, run.lease_id)
            if lease is not None and not lease.closed:
                return lease
    return None


async def at_cloud(tx: Tx, runs: OwnView) -> provisioning.AtCloud | None:
    """Where its present run is, if that is a cloud's machine without our agent."""
    run = runs.run
    if run is None or not run.live or run.lease_id is None or not runs.launch.clouds:
        return None
    return (await provisioning.at_clouds(tx, [run.lease_id])).get(run.lease_id)


async def runs_of(tx: Tx, deployment_id: DeploymentId) -> OwnView:
    return (await deployments.own_views(tx, [deployment_id]))[deployment_id]


async def _registry(
    tx: Tx, account_id: AccountId, named: str | None, image: core.Image
) -> RegistryId | None:
    if named is None:
        return None
    found = await store.registry(tx, account_id, named)
    if found.server != image.server:
        raise BadInput(
            f"The credentials {found.name} are for {found.server}; the image is at {image.server}.",
            param="registry_id",
        )
    return found.registry_id


def _launch(
    pod: Pod,
    image: core.Image,
    wanted: PodWanted,
    kept: Sequence[Volume],
    paths: Sequence[str],
) -> LaunchSpec:
    mounts = [
        VolumeMount(str(row.volume_id), path, row.size_gib)
        for row, path in zip(kept, paths, strict=True)
    ]
    return LaunchSpec(
        engine="pod",
        image=image.reference,
        arguments=core.check_words(wanted.arguments, "arguments"),
        command=core.check_words(wanted.command, "command"),
        environment=core.check_environment(wanted.environment),
        port=0,
        health_path="",
        memory_mib=wanted.memory_gib * 1024,
        shm_mib=wanted.shm_mib,
        start_seconds_max=START_SECONDS_MAX,
        drain_seconds_max=STOP_SECONDS,
        ports=core.check_ports(wanted.ports),
        volumes=mounts,
        disk_mib=wanted.disk_gib * 1024,
        secrets=bool(pod.secrets) or pod.registry_id is not None,
        shell=wanted.ssh,
    )


def _own(pod: Pod, launch: LaunchSpec, wanted: PodWanted) -> OwnWanted:
    if wanted.price_max is not None and not 0 < wanted.price_max.nano <= PRICE_MAX.nano:
        raise BadInput(
            "max_price_usd_per_gpu_hour must be more than 0 and at most 1000.",
            param="max_price_usd_per_gpu_hour",
        )
    if wanted.budget is not None and wanted.budget.nano <= 0:
        raise BadInput("budget_usd must be more than 0.", param="budget_usd")
    return OwnWanted(
        name=pod.slug,
        launch=OwnLaunch(
            launch=launch,
            gpus=wanted.gpus,
            vram_mib=wanted.vram_gib_min * 1024,
            disk_gib=wanted.disk_gib,
            simulated=wanted.simulated,
            pod_id=str(pod.pod_id),
            clouds=wanted.clouds,
            registry=pod.registry_id is not None,
        ),
        gpu=wanted.gpu,
        price_max=wanted.price_max,
        max_duration_seconds=wanted.max_duration_seconds,
        budget=wanted.budget,
        wishes=wanted.wishes,
    )


async def _pin(tx: Tx, pod: Pod, kept: Sequence[Volume]) -> None:
    """To the node on which its volumes lie, if they lie anywhere."""
    node_id = next((row.node_id for row in kept if row.node_id is not None), None)
    if node_id is not None:
        await deployments.pin_own(tx, pod.deployment_id, node_id, pinned_why(str(node_id)))


def pinned_why(node_id: str) -> str:
    return f"The pod's volumes lie on {node_id}; it can run nowhere else."


def _check_kept(pod: Pod) -> None:
    if pod.state != PodLife.KEPT.value:
        raise Conflict(f"This pod is {pod.state}; create another.")


def _name_taken(name: str) -> Conflict:
    return Conflict(
        f"You have a pod {name!r} already. Give another name, or terminate that one.",
        code="name_taken",
        param="name",
    )
