"""``ganglion demo``: register → credit → key → deploy → chat → pool → stop → receipts → proofs."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from openai import OpenAIError

from cli import output, settings
from cli.demo import bill, deployment, people
from cli.demo.bill import Payer
from cli.demo.calls import Call, Caller, tell
from cli.demo.ground import ENGINES, Ground, ground
from cli.demo.people import Person
from cli.demo.story import Story
from cli.faults import CliError
from cli.supervisor.environment import STAND_IN
from kernel.clock import Clock, SystemClock
from kernel.money import Money

WORDS = "Say in one sentence what a ganglion is."


def run_demo(*, engine: str, json: bool) -> int:
    """Tell the story on the terminal (with ``json`` on standard error); 0 when all of it held."""
    if engine not in ENGINES:
        raise CliError(f"There is no engine {engine!r}.", f"Choose one of: {', '.join(ENGINES)}")
    clock = SystemClock()
    story = Story(output.errors if json else output.console, clock)
    with ground(settings.load(), engine) as place:
        try:
            asyncio.run(Journey(story, place, engine, clock).run())
        except OpenAIError as failed:
            raise CliError(f"The OpenAI client failed: {failed}", "Look at the logs.") from None
    story.mark(f"[bold green]Done.[/] All of it in {story.seconds:.1f} s.")
    story.keep("seconds", round(story.seconds, 3))
    if json:
        output.show_json(story.facts)
    return 0


class Journey:
    """The steps in their order; ``story.facts`` keeps what each found."""

    def __init__(self, story: Story, place: Ground, engine: str, clock: Clock) -> None:
        self._story = story
        self._place = place
        self._model = ENGINES[engine]
        self._clock = clock
        self._name = f"demo-{secrets.token_hex(3)}"

    async def run(self) -> None:
        story, place = self._story, self._place
        story.keep("brain_url", place.brain_url)
        story.keep("gateway_url", place.gateway_url)
        story.keep("own_run", place.own)
        with ExitStack() as open_things:
            owner = self._person("owner")
            open_things.callback(owner.brain.__exit__)
            deployment_id, lease_id = await self._deploy(owner)
            own_calls = self._calls(owner, self._name)
            other = self._person("neighbour")
            open_things.callback(other.brain.__exit__)
            pool_calls = self._pool_calls(other)
            await self._stop(owner, deployment_id)
            await self._requests(Payer("owner", owner.brain, own_calls), "own_receipts")
            await self._requests(Payer("neighbour", other.brain, pool_calls), "pool_receipts")
            await self._lease(owner, lease_id)
            self._books(owner, other)

    def _person(self, name: str) -> Person:
        story = self._story
        story.step(f"{name}: register, log in, credit, API key")
        person, _ = people.register(self._place, name)
        story.tell(f"registered and logged in as {person.email} ({person.account_id})")
        balance = people.fund(self._place, person)
        story.tell(f"credit: {balance['free_usd']} ({balance['credits']:,} credits)")
        ready = people.with_key(person)
        story.tell(f"API key {ready.key[:11]}… (shown once in full)")
        story.keep(name, {"email": person.email, "account_id": person.account_id})
        return ready

    async def _deploy(self, owner: Person) -> tuple[str, str]:
        story = self._story
        story.step(f"deploy {self._model} from the catalog")
        made = deployment.deploy(story, owner.brain, self._model, self._name)
        deployment_id = made["deployment_id"]
        found = await deployment.follow(
            story, owner.brain, deployment_id, "running", clock=self._clock
        )
        story.step("why there: the planner's candidates")
        why = deployment.tell_why(story, owner.brain, deployment_id)
        lease_id = deployment.tell_lease(story, found)
        story.keep("deployment", found)
        story.keep("why", why)
        return deployment_id, lease_id

    def _calls(self, owner: Person, model: str) -> tuple[Call, ...]:
        story = self._story
        story.step("the official openai client, through the gateway")
        caller = Caller(self._place.gateway_url, owner.key, self._clock)
        models = caller.models()
        story.tell(f"models: {', '.join(models)}")
        story.keep("models", models)
        calls = (caller.plain(model, WORDS), caller.streamed(model, WORDS))
        for call in calls:
            tell(story, call)
        story.keep("own_calls", [asdict(call) for call in calls])
        return calls

    def _pool_calls(self, other: Person) -> tuple[Call, ...]:
        story = self._story
        story.step(f"a second account calls {STAND_IN} of the shared pool, with no deployment")
        caller = Caller(self._place.gateway_url, other.key, self._clock)
        calls = (caller.plain(STAND_IN, WORDS), caller.streamed(STAND_IN, WORDS))
        for call in calls:
            tell(story, call)
        story.keep("pool_calls", [asdict(call) for call in calls])
        return calls

    async def _stop(self, owner: Person, deployment_id: str) -> None:
        story = self._story
        story.step("stop: drained, worker gone, lease closed")
        owner.brain.post(f"/api/v1/deployments/{deployment_id}/stop")
        found = await deployment.follow(
            story, owner.brain, deployment_id, "stopped", clock=self._clock
        )
        story.keep("stopped", found)

    async def _requests(self, payer: Payer, name: str) -> None:
        story = self._story
        story.step(f"{payer.who}: what each request used and cost")
        receipts = await bill.settled(payer, self._clock)
        bill.tell_requests(story, payer, receipts)
        story.keep(name, receipts)

    async def _lease(self, owner: Person, lease_id: str) -> None:
        story = self._story
        story.step("the final bill of the lease")
        found = await bill.final(owner.brain, lease_id, self._clock)
        bill.tell_lease(story, found)
        story.keep("lease_receipt", found)

    def _books(self, owner: Person, other: Person) -> None:
        story = self._story
        story.step("proofs of the books, made now")
        with self._place.admin() as admin:
            proofs: list[dict[str, Any]] = admin.get("/api/v1/proofs")
        bill.tell_proofs(story, proofs)
        for name, person in (("owner", owner), ("neighbour", other)):
            left = person.balance()
            held = f", of which {Money(left['held_nano'])} is held" if left["held_nano"] else ""
            story.tell(f"{name} has {Money(left['posted_nano'])} left{held}")
        story.keep("proofs", proofs)
