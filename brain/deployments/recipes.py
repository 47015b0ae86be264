"""What a deployment's worker is: a model of the catalog, or a launch of its owner's own.

Placing and the reconciler ask for the recipe and know no more: what the planner is asked, how the
worker is started on so many GPUs, how long its start and its end may take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from brain.deployments import core, measures
from brain.deployments.models import Deployment
from brain.plumbing import Tx
from brain.provisioning import CloudImages
from brain.scheduling import PlanRequest, Shape
from catalog import (
    Catalog,
    Template,
    Use,
    disk_gib,
    launch,
    need,
    parallel_choices,
    use_of,
    weight_bytes,
)
from kernel.wire.agent import LaunchSpec

EXPECTED_SECONDS = 3600  # what a deployment with no longest duration is planned for
FETCH_BYTES_SECOND = 125_000_000  # one gigabit a second
IMAGE_FETCH_SECONDS = 60  # an image of an owner's own, of unknown size
NOT_ASKED = (
    "It is a cloud's machine, where this image would run without our agent and its isolation;"
    " create the pod with --clouds to allow that."
)
NO_VOLUMES = "It is a cloud's machine; volumes lie on nodes."
POD = "pod"  # the kind of deployment that is one worker with a launch of its own


@dataclass(frozen=True)
class Recipe:
    """``request`` is what the work alone asks of a place, before its owner's wishes.

    ``launch`` and ``vram_mib`` (of each GPU) are for so many GPUs. ``mode`` is how the meter
    counts its time. ``template`` is None for what is no model of the catalog.
    """

    request: PlanRequest
    launch: Callable[[int], LaunchSpec]
    vram_mib: Callable[[int], int]
    start_seconds_max: int
    drain_seconds_max: int
    mode: str = "dedicated"
    template: Template | None = None
    own: OwnLaunch | None = None

    @property
    def agentless(self) -> bool:
        """At a cloud it runs without our agent: the image is its owner's own."""
        return self.own is not None and not self.own.launch.process


@dataclass(frozen=True)
class OwnLaunch:
    """What an owner runs that is no model: kept on the deployment's row.

    ``node_id``: the one node where it may stand, as its volumes lie there; "" = any. ``why_there``
    says so, as a sentence.
    ``vram_mib`` is what each of its ``gpus`` must have.
    """

    launch: LaunchSpec
    gpus: int
    vram_mib: int = 0
    disk_gib: int = 0
    simulated: bool = True  # simulated GPUs will do
    node_id: str = ""
    why_there: str = ""
    pod_id: str = ""  # whose front is told when the worker gets ready and when it ends
    clouds: bool = False  # its owner lets it run at clouds, without our agent
    registry: bool = False  # its image is pulled with credentials

    def kept(self) -> dict[str, Any]:
        kept: dict[str, Any] = msgspec.to_builtins(self)
        return kept


def own_launch(kept: Mapping[str, Any]) -> OwnLaunch:
    """As it was kept."""
    return msgspec.convert(kept, OwnLaunch)


async def recipe_of(tx: Tx, catalog: Catalog, deployment: Deployment) -> Recipe:
    """The recipe as it is now. ``NotFound`` when its model left the catalog."""
    if deployment.own_launch is not None:
        return own_recipe(own_launch(deployment.own_launch))
    (template,) = await measures.corrected(tx, catalog.get(deployment.model))
    mode = "pool" if deployment.pool else "dedicated"
    use = use_of(template, context=deployment.context, concurrency=deployment.concurrency)
    return with_asked(template_recipe(template, use, mode), deployment)


def with_asked(recipe: Recipe, deployment: Deployment) -> Recipe:
    """The recipe with what its owner added: arguments of the engine, and secrets."""

    def asked(gpus: int) -> LaunchSpec:
        spec = recipe.launch(gpus)
        added = list(deployment.arguments)
        return msgspec.structs.replace(
            spec,
            arguments=[*spec.arguments, *added],
            process=[*spec.process, *added] if spec.process else [],
            secrets=bool(deployment.secrets),
        )

    return replace(recipe, launch=asked)


def template_recipe(template: Template, use: Use, mode: str) -> Recipe:
    """A worker of this model for this use."""
    return Recipe(
        request=request_for_template(template, use),
        launch=partial(launch, template, use),
        vram_mib=lambda gpus: need(template, use, gpus).memory_mib,
        start_seconds_max=template.start.start_seconds_max,
        drain_seconds_max=template.start.drain_seconds_max,
        mode=mode,
        template=template,
    )


def own_recipe(own: OwnLaunch) -> Recipe:
    """A launch as its owner wrote it: in a container under our agent, so on nodes. What has the
    form of a process runs on rented machines as well, and where its owner asks for it any image
    does, by the cloud alone. What keeps something runs on nodes only."""
    process, keeps = bool(own.launch.process), bool(own.launch.volumes)
    return Recipe(
        request=PlanRequest(
            shapes=(Shape(own.gpus, own.vram_mib),),
            simulated=own.simulated,
            containers=not process,
            clouds=(process or own.clouds) and not keeps,
            clouds_why=NO_VOLUMES if keeps else NOT_ASKED,
            only=own.node_id,
            only_why=own.why_there,
            seconds=EXPECTED_SECONDS,
            storage_gib=own.disk_gib,
            model=own.launch.image,
            fetch_seconds=IMAGE_FETCH_SECONDS,
        ),
        launch=lambda gpus: own.launch,
        vram_mib=lambda gpus: own.vram_mib,
        start_seconds_max=own.launch.start_seconds_max,
        drain_seconds_max=own.launch.drain_seconds_max,
        mode=POD,
        own=own,
    )


def crash_window_ns(deployment: Deployment) -> int:
    """In which so many failed starts end the tries."""
    own = deployment.own_launch
    rents = own is not None and own_launch(own).clouds
    return core.RENTED_CRASH_WINDOW_NS if rents else core.CRASH_WINDOW_NS


def told_of_clouds(recipe: Recipe, images: CloudImages) -> Recipe:
    """The recipe with what the clouds say of an image that they would run by themselves."""
    if recipe.own is None or not recipe.agentless or not recipe.request.clouds:
        return recipe
    refused = images.refusals(recipe.own.launch, registry=recipe.own.registry)
    return replace(recipe, request=replace(recipe.request, refused_by=refused))


def request_for_template(template: Template, use: Use) -> PlanRequest:
    """What the model alone asks of a place. Only what needs no real GPU runs on a simulated one."""
    return PlanRequest(
        shapes=tuple(
            Shape(gpus, need(template, use, gpus).memory_mib) for gpus in parallel_choices(template)
        ),
        simulated=template.fixed_memory_mib is not None,
        containers=not template.start.process,
        seconds=EXPECTED_SECONDS,
        storage_gib=disk_gib(template),
        model=template.id,
        fetch_seconds=_fetch_seconds(template),
    )


def _fetch_seconds(template: Template) -> int:
    """How long a place without the model's files needs to get them."""
    if template.shape is None:
        return 0
    return -(-weight_bytes(template.shape) // FETCH_BYTES_SECOND)
