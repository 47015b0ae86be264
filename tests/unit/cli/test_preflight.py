"""What is refused before a start, in one sentence with its remedy."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.faults import CliError
from cli.supervisor import preflight
from cli.supervisor.preflight import Listener
from tests.support.wait import free_port

MIB = 1024 * 1024


def test_two_parts_with_one_port_are_named() -> None:
    listeners = [
        Listener("gateway", "127.0.0.1", 8080, "GATEWAY_PORT"),
        Listener("SSH of pods", "127.0.0.1", 8080, "SSH_PORT"),
    ]
    with pytest.raises(CliError, match="GATEWAY_PORT and SSH_PORT are the same"):
        preflight.check_different(listeners)
    preflight.check_different(listeners[:1])


def test_an_old_python_is_refused_by_its_number() -> None:
    with pytest.raises(CliError, match=r"needs Python 3\.11 or newer and this is 3\.10\.2"):
        preflight.check_python((3, 10, 2))


def test_a_full_disk_is_refused_with_what_is_free() -> None:
    with pytest.raises(CliError, match=r"5 MiB are free and 512 MiB are needed") as refused:
        preflight.check_disk(5 * MIB, Path("/data"))
    assert "GANGLION_HOME" in refused.value.advice


def test_enough_disk_is_enough() -> None:
    preflight.check_disk(preflight.DISK_BYTES_MIN, Path("/data"))


def test_a_busy_port_is_named_with_who_holds_it_and_another_one() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(CliError, match=rf"Port {port}, which the brain needs, is busy") as busy:
            preflight.check_port(Listener("brain", "127.0.0.1", port, "BRAIN_PORT"))
    assert f"BRAIN_PORT={port + 1}" in busy.value.advice
    assert "process" in busy.value.sentence


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(CliError, match=r"cannot listen on 192\.0\.2\.1"):
        preflight.check_port(Listener("gateway", "192.0.2.1", free_port(), "GATEWAY_PORT"))


def test_ports_that_are_left_to_it_are_as_many_as_are_asked_for() -> None:
    found = preflight.free_ports([("127.0.0.1", 0)] * 200 + [("127.0.0.1", 8080)])
    assert (len(set(found)), found[-1]) == (201, 8080)


def test_a_free_port_passes() -> None:
    preflight.check_port(Listener("brain", "127.0.0.1", free_port(), "BRAIN_PORT"))
