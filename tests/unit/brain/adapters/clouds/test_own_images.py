"""Renters' own images as they are sent to clouds that run them: field by field."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from brain.adapters.clouds.runpod.orders import NO_COMMAND, NO_REGISTRY, graphql_input, rest_body
from brain.adapters.clouds.vast.orders import NO_LOGIN, order_body, refuses
from brain.clouds import CloudOffer, CloudRefused, Container, Order, RegistryAccess

pytestmark = [pytest.mark.feature("E1"), pytest.mark.feature("B1"), pytest.mark.feature("B2")]
LOGIN = RegistryAccess("ghcr.io", "me", "token")
KEYS = {"vast": "384826", "runpod": "SECURE|NVIDIA L4|1|EU-RO-1"}


def order(cloud: str = "vast", **more: Any) -> Order:
    offer = CloudOffer(cloud, KEYS[cloud], "L4", 1, 23_034, 400_000_000, "EU-RO-1")
    return Order("gng-1", offer, **more)


def test_runpod_is_told_image_arguments_and_variables_alone() -> None:
    own = Container("an/image", (), ("a b", "it's"), {"A": "x y"})
    body = rest_body(order("runpod", container=own, ports=(80, 22)))
    assert (body["image"], body["env"]) == ("an/image", {"A": "x y"})
    assert shlex.split(str(body["args"])) == ["a b", "it's"]
    assert body["ports"] == ["80/http", "22/tcp"]
    older = graphql_input(order("runpod", container=own, ports=(80,)))
    assert (older["imageName"], older["dockerArgs"]) == ("an/image", body["args"])
    assert older["env"] == [{"key": "A", "value": "x y"}]


def test_a_key_that_its_owner_sets_itself_stands() -> None:
    own = Container("an/image", env={"PUBLIC_KEY": "mine"})
    body = rest_body(order("runpod", container=own, ssh_public_keys=("k",)))
    assert body["env"] == {"PUBLIC_KEY": "mine"}


@pytest.mark.parametrize(
    ("own", "why"),
    [
        (Container("an/image", ("sleep",)), NO_COMMAND),
        (Container("an/image", registry=LOGIN), NO_REGISTRY),
    ],
)
def test_runpod_refuses_what_it_has_no_place_for(own: Container, why: str) -> None:
    with pytest.raises(CloudRefused) as refused:
        rest_body(order("runpod", container=own))
    assert refused.value.detail == why


@pytest.mark.parametrize(
    "password", ["two words", "quo'te", "back\\slash", "$(id)", "", "`id`", "a;id", "-p"]
)
def test_vast_is_sent_no_password_that_a_shell_would_read(password: str) -> None:
    own = Container("an/image", registry=replace(LOGIN, password=password))
    assert refuses(own) == NO_LOGIN
    with pytest.raises(CloudRefused):
        order_body(order(container=own))


def test_nothing_is_sent_to_vast_that_its_own_client_does_not_send() -> None:
    sent = {
        *("client_id", "image", "env", "price", "disk", "label", "extra", "onstart", "args"),
        *("image_login", "python_utf8", "lang_utf8", "use_jupyter_lab", "jupyter_dir", "force"),
        *("cancel_unavail", "template_hash_id", "user", "runtype", "volume_info"),
    }
    own = Container("an/image", ("sleep",), ("9",), registry=LOGIN, shell=True)
    for keys in ((), ("k",)):
        assert set(order_body(order(container=own, ssh_public_keys=keys))) <= sent


def test_a_renters_image_starts_by_its_own_entry_point_or_by_the_one_said() -> None:
    bare = order_body(order(container=Container("an/image", (), ("--port", "80"))))
    assert (bare["runtype"], bare["onstart"], bare["args"]) == ("args", "", ["--port", "80"])
    said = order_body(order(container=Container("an/image", ("a b", "-x"), ("y",))))
    assert (said["onstart"], said["args"]) == ("'a b'", ["-x", "y"])
    assert bare["image_login"] is None
    held = order_body(order(container=Container("an/image", registry=LOGIN)))
    assert held["image_login"] == "-u me -p token ghcr.io"


def test_a_renters_image_has_a_shell_only_beside_a_command_that_is_known() -> None:
    keys = ("ssh-ed25519 AAAA o'brien",)
    alone = Container("an/image", (), ("x",), shell=True)
    assert order_body(order(container=alone, ssh_public_keys=keys))["runtype"] == "args"
    beside = replace(alone, command=("sleep", "9 0"))
    body = order_body(order(container=beside, ssh_public_keys=keys))
    assert body["runtype"] == "ssh_direc ssh_proxy"
    assert str(body["onstart"]).endswith("authorized_keys\nsleep '9 0' x")
    no_shell = replace(beside, shell=False)
    assert order_body(order(container=no_shell, ssh_public_keys=keys))["runtype"] == "args"
