"""What every test may ask for, and how a run behaves: one seed, shuffled order."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import certifi
import hypothesis
import pytest
import structlog
import uvloop

from brain.plumbing import Ctx, Db
from kernel.clock import ManualClock
from kernel.ids import SeededIds
from tests.support.shared import ROOT, RUN_PID

pytest_plugins = [
    "tests.support.compiled",
    "tests.support.features",
    "tests.support.postgres",  # before those that import it, as its asserts are rewritten
    "tests.support.prepared",
    "tests.support.installation",
    "tests.support.brain",
    "tests.support.cloud",
    "tests.support.gateway",
    "tests.support.standin",
    "tests.support.valkey",
    "tests.support.vendors",
    "tests.support.dockerd",
    "tests.support.vllm",
    "tests.support.workers",
    "tests.support.workers_node",
]

SEED = "GANGLION_TEST_SEED"
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
# A machine that is busy with other tests is slow, and no fault of the test's.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("whole", deadline=None, suppress_health_check=SLOW)
# What a suite has time for: a part of the cases (tests/support/cases.py), drawn anew in each run.
WHOLE = hypothesis.settings.get_profile("whole")
hypothesis.settings.register_profile("part", WHOLE, max_examples=30)
# For a quick look (make test-fast).
hypothesis.settings.register_profile("fast", WHOLE, max_examples=25)
hypothesis.settings.load_profile("part")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """The first process of a run chooses the seed; xdist's workers inherit it."""
    gc.disable()  # thousands of modules and tests are made now, and none of them is garbage
    if not hasattr(config, "workerinput"):
        os.environ[RUN_PID] = str(os.getpid())
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # root's tools, which are not on every root's path
    os.environ.setdefault(SEED, str(random.SystemRandom().randrange(1 << 32)))
    os.environ["SSL_CERT_FILE"] = str(_one_authority())
    # By default each frame's locals are drawn, which takes minutes where they are large.
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


def _one_authority() -> Path:
    """A list of one authority: to read all that the world trusts takes each client that is opened
    a fiftieth of a second of a core, and nobody here speaks to the world."""
    made = ROOT / ".cache" / "one-authority.pem"
    if not made.exists():
        whole = Path(certifi.where()).read_text()
        first = whole[whole.index(BEGIN) : whole.index(END) + len(END)]
        made.parent.mkdir(exist_ok=True)
        fresh = made.with_suffix(f".{os.getpid()}")
        fresh.write_text(f"{first}\n")
        fresh.rename(made)
    return made


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The brain is tried on the loop that it runs on; the rest, mostly clients, on Python's own."""
    if "brain" in item.path.resolve().relative_to(ROOT).parts:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


def pytest_report_header() -> str:
    return f"seed: {os.environ[SEED]} (repeat this order and chance with {SEED}=…)"


def pytest_itemcollected(item: pytest.Item) -> None:
    """A law that is tried with many cases: with all of them in `make test-long`."""
    if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        item.add_marker(pytest.mark.law)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle files, and tests inside a file, by the seed."""
    chance = random.Random(os.environ[SEED])
    rank = {path: chance.random() for path in sorted({str(item.path) for item in items})}
    inside = {item.nodeid: chance.random() for item in sorted(items, key=lambda i: i.nodeid)}
    items.sort(key=lambda item: (rank[str(item.path)], inside[item.nodeid]))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector need not look at it again and again."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.enable()
    gc.unfreeze()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all xdist workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """This test's own chance, the same for the same run seed."""
    text = f"{os.environ[SEED]} {request.node.nodeid}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    print(f"seed of this test: {number}")
    return number


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test of this run has; fit for a database."""
    text = f"{os.getpid()} {request.node.nodeid}"
    return "test_" + hashlib.sha256(text.encode()).hexdigest()[:20]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ctx(database_url: str, clock: ManualClock, seed: int) -> AsyncIterator[Ctx]:
    """What a brain verb is handed: a fresh database, time that stands, ids by seed."""
    db = Db(database_url, pool_size=5)
    yield Ctx(db=db, clock=clock, ids=SeededIds(clock, seed))
    await db.close()
