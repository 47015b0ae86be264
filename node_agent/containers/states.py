"""Pure: the life of one lease's container as a table. The stage is read from Docker, never kept.

Each call to Docker that changes a container is one step; a step that the table does not list
is ``Conflict``, and the call is not made.
"""

from __future__ import annotations

from enum import StrEnum

from kernel.machine import Machine


class Stage(StrEnum):
    ABSENT = "absent"
    PULLING = "pulling"  # its image is being had; there is no container yet
    PULLED = "pulled"
    CREATED = "created"  # made but not started: the rest of a failed start, if nobody starts it
    RUNNING = "running"
    STOPPING = "stopping"  # it was asked to stop
    EXITED = "exited"


class Step(StrEnum):
    PULL = "pull"
    HAVE_IMAGE = "have its image"
    GIVE_UP = "be given up"
    CREATE = "be created"
    START = "be started"
    STOP = "be stopped"
    KILL = "be killed"
    EXIT = "exit"
    REMOVE = "be removed"


_GIVEN_UP = (Stage.PULLING, Stage.PULLED)

LIFE = Machine(
    name="container",
    start=Stage.ABSENT,
    table={
        (Stage.ABSENT, Step.PULL): Stage.PULLING,
        (Stage.PULLING, Step.HAVE_IMAGE): Stage.PULLED,
        **{(stage, Step.GIVE_UP): Stage.ABSENT for stage in _GIVEN_UP},
        (Stage.PULLED, Step.CREATE): Stage.CREATED,
        (Stage.CREATED, Step.START): Stage.RUNNING,
        (Stage.CREATED, Step.REMOVE): Stage.ABSENT,
        (Stage.RUNNING, Step.STOP): Stage.STOPPING,
        (Stage.RUNNING, Step.KILL): Stage.STOPPING,
        (Stage.RUNNING, Step.EXIT): Stage.EXITED,
        (Stage.STOPPING, Step.STOP): Stage.STOPPING,
        (Stage.STOPPING, Step.KILL): Stage.STOPPING,
        (Stage.STOPPING, Step.EXIT): Stage.EXITED,
        (Stage.EXITED, Step.REMOVE): Stage.ABSENT,
    },
)

_STAGES = {
    "created": Stage.CREATED,
    "running": Stage.RUNNING,
    "paused": Stage.RUNNING,
    "restarting": Stage.RUNNING,
    "removing": Stage.EXITED,
    "exited": Stage.EXITED,
    "dead": Stage.EXITED,
}


def stage_of(status: str) -> Stage:
    """The stage of a container by Docker's own word; a word we do not know runs."""
    return _STAGES.get(status, Stage.RUNNING)


class Life:
    """Where one job has come with one container; every change goes through the table."""

    def __init__(self, stage: Stage = Stage.ABSENT) -> None:
        self.stage = stage

    def go(self, step: Step) -> None:
        """Take the step; raises ``Conflict`` when a container of this stage cannot."""
        self.stage = LIFE.next(self.stage, step)
