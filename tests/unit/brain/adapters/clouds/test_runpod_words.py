"""The GraphQL operations use what the vendor's own client was seen to use, values as variables.

``runpod_client.json`` holds the operations of the ``runpod`` package, version 1.12.0: the fields
of each one's input, and those that it selects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gql import GraphQLRequest
from graphql.language import ast

from brain.adapters.clouds.runpod import queries
from brain.adapters.clouds.runpod.orders import graphql_input
from brain.clouds import Boot, CloudOffer, Order

pytestmark = pytest.mark.feature("B1")
CLIENT: dict[str, Any] = json.loads((Path(__file__).parent / "runpod_client.json").read_text())
# What the vendor's documents name, and its client does not use.
DOCUMENTED = {
    "gpuTypes": {"lowestPrice.stockStatus"},
    "myself": {"clientBalance"},
    "pod": {"machine.podHostId"},
}
UNSEEN = {"MAKE_VOLUME", "REMOVE_VOLUME"}  # which its client does not do
OPERATIONS = {
    name: found for name, found in vars(queries).items() if isinstance(found, GraphQLRequest)
}
OFFER = CloudOffer("runpod", "SECURE|NVIDIA L4|2|EU-RO-1", "L4", 2, 23034, 1, "EU-RO-1")
HOSTILE = 'x"}) { id } evil: podTerminate(input: {podId: "1'


def root_of(request: GraphQLRequest) -> ast.FieldNode:
    (operation,) = request.document.definitions
    assert isinstance(operation, ast.OperationDefinitionNode)
    (root,) = operation.selection_set.selections
    assert isinstance(root, ast.FieldNode)
    return root


def selected(node: ast.FieldNode, before: str = "") -> Iterator[str]:
    for inner in node.selection_set.selections if node.selection_set else ():
        assert isinstance(inner, ast.FieldNode)
        yield before + inner.name.value
        yield from selected(inner, f"{before}{inner.name.value}.")


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - UNSEEN))
def test_only_fields_that_the_vendor_knows_are_asked_for(name: str) -> None:
    root = root_of(OPERATIONS[name])
    known = set(CLIENT[root.name.value]["selects"]) | DOCUMENTED.get(root.name.value, set())
    assert set(selected(root)) <= known


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_no_value_stands_in_the_text(name: str) -> None:
    arguments = root_of(OPERATIONS[name]).arguments or ()
    assert all(isinstance(one.value, ast.VariableNode) for one in arguments)


def test_an_order_has_the_clients_fields_and_touches_no_text() -> None:
    order = Order(HOSTILE, OFFER, Boot(HOSTILE, {"A": HOSTILE}, "image"), ports=(8000, 22))
    made = graphql_input(order)
    assert set(made) <= set(CLIENT["podFindAndDeployOnDemand"]["input"])
    sent = queries.payload(queries.DEPLOY, {"input": made})
    assert "evil" not in sent["query"]
    assert sent["variables"] == {"input": made}
    assert (made["ports"], made["dataCenterId"]) == ("8000/http,22/tcp", "EU-RO-1")
