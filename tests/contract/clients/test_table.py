"""Every vendor's client, unmodified, on every route and every class of error, in front of the
stand-in. The table of docs/gateway.md is read and compared with what is tested here and, in
test_before_vllm.py, in front of real vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.clients import plan
from tests.contract.clients.house import House, Served, house
from tests.contract.clients.plan import CHAT
from tests.contract.clients.walks import (
    ANTHROPICS,
    CLASSES,
    OPENAIS,
    ROUTES,
    agents_did,
    table_of,
)
from tests.support.standin import StandIn

HERE = Path(__file__).parent
COLUMNS = ("openai", "node", "langchain", "agents", "anthropic")  # of the document
pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture(scope="module")
def place(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """In front of a stand-in that serves every route."""
    worker = Served(quick_stand_in.url, quick_stand_in.model, (*OPENAIS, *ROUTES["anthropic"]))
    with house(tmp_path_factory.mktemp("house"), ROUTES, worker) as made:
        yield made


@pytest.mark.feature("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A9", "A16", "A18")
def test_openai(place: House) -> None:
    assert table_of("openai", place)


@pytest.mark.feature("A9", "A17")
def test_anthropic(place: House) -> None:
    assert table_of("anthropic", place)


@pytest.mark.feature("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A9", "A16", "A18")
@pytest.mark.usefixtures("node_walk")
def test_openai_for_node(place: House) -> None:
    assert table_of("node", place)


@pytest.mark.feature("A1", "A2", "A3", "A9", "A16")
@pytest.mark.usefixtures("langchain_client")
def test_langchain(place: House) -> None:
    told = table_of("langchain", place)[CHAT]["further"]["told"]
    assert told["stream"]["same"]
    assert told["stream"]["parts"] > 1
    assert told["stream"]["tokens"] == told["tokens"] > 0
    assert (told["call"], told["batch"]) == (["pick_unit"], 3)


@pytest.mark.feature("A1", "A9", "A16")
@pytest.mark.usefixtures("agents_client")
def test_openais_agents(place: House) -> None:
    table = table_of("agents", place)
    assert agents_did(table)


def test_the_document_says_what_is_walked() -> None:
    told: dict[str, dict[str, str]] = {client: {} for client in ROUTES}
    classes = {}
    for line in (HERE.parents[2] / "docs" / "gateway.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in plan.BODIES and len(cells) == len(ROUTES) + 1:
            for client, cell in zip(COLUMNS, cells[1:], strict=True):
                told[client] |= {cells[0]: cell} if cell else {}
        elif len(cells) == 4 and cells[1].isdigit() and int(cells[1]) in CLASSES:
            classes[int(cells[1])] = (cells[2].strip("`"), cells[3].strip("`"))
    assert told == {
        client: {route: "●" if route in plan.REAL else "○" for route in routes}
        for client, routes in ROUTES.items()
    }
    assert classes == {
        status: (name, ANTHROPICS.get(status, name)) for status, name in CLASSES.items()
    }
