"""What may be asked of a pod: images, names, variables, ports, paths, keys."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from brain.pods import core
from brain.pods.keys import read_key
from kernel.errors import BadInput
from kernel.ids import PodId

pytestmark = pytest.mark.feature("E1")

GITHUB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
DIGEST = "sha256:" + "a" * 64
IMAGES = [
    ("busybox", "docker.io"),
    ("ubuntu:24.04", "docker.io"),
    ("library/ubuntu", "docker.io"),
    ("docker.io/library/ubuntu:24.04", "docker.io"),
    ("index.docker.io/me/it", "docker.io"),
    ("ghcr.io/owner/name:tag", "ghcr.io"),
    (f"ghcr.io/owner/name@{DIGEST}", "ghcr.io"),
    (f"ghcr.io/owner/name:1.2@{DIGEST}", "ghcr.io"),
    ("registry.example.com:5000/a/b/c:v1", "registry.example.com:5000"),
    ("localhost/it", "localhost"),
    ("localhost:5000/it", "localhost:5000"),
    ("[fd00::1]:5000/it", "[fd00::1]:5000"),
    ("me/a__b.c-d_e", "docker.io"),
    ("GHCR.io/owner/name", "ghcr.io"),
]


@pytest.mark.parametrize(("text", "server"), IMAGES)
def test_an_image_is_read_as_docker_reads_it(text: str, server: str) -> None:
    assert core.read_image(text) == core.Image(text, server)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ubuntu",
        "ubuntu:",
        "ubuntu@sha256:abc",
        "https://ghcr.io/a/b",
        "a b",
        "a//b",
        "/a",
        "a/",
        "ghcr.io/",
        "ubuntu:-x",
        "ubuntu;rm",
        "ubuntu\n",
        "a" * 501,
        "übuntu",
        "a..b",
        "$(x)",
        "--privileged",
    ],
)
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="image must be a reference"):
        core.read_image(text)


@given(st.text(max_size=60))
def test_any_text_is_an_image_or_bad_input(text: str) -> None:
    try:
        found = core.read_image(text)
    except BadInput:
        return
    assert re.fullmatch(r"[\x21-\x7e]+", found.reference)
    assert not found.reference.startswith("-")


@given(st.integers(0, 2**128 - 1))
def test_a_slug_is_a_label_that_takes_a_port_and_stays_the_same(number: int) -> None:
    pod_id = PodId.of(UUID(int=number))
    slug = core.slug_of(pod_id)
    assert slug == core.slug_of(pod_id)
    assert re.fullmatch(r"pod-[a-z2-7]{8}", slug)
    assert len(f"{slug}-65535") <= 63


@pytest.mark.parametrize("path", ["/data", "/data/", "/home/me/.cache", "/mnt/a-b_c", "/root"])
def test_a_plain_path_is_taken(path: str) -> None:
    assert core.check_paths([path]) == [path.rstrip("/")]


@pytest.mark.parametrize(
    "path",
    [
        "data",
        "/",
        "//",
        "/data/..",
        "/data/../etc",
        "/a//b",
        "/a/./b",
        "/proc",
        "/proc/1",
        "/sys/fs",
        "/dev",
        "/dev/shm",
        "/etc",
        "/etc/passwd",
        "/run/x",
        "/bin",
        "/lib64",
        "/a b",
        "/a:ro",
        "/a\n",
        "/é",
        "",
    ],
)
def test_a_path_over_what_the_system_needs_is_refused(path: str) -> None:
    with pytest.raises(BadInput):
        core.check_paths([path])


def test_two_volumes_on_one_path_are_refused() -> None:
    with pytest.raises(BadInput, match="path of its own"):
        core.check_paths(["/data", "/data/"])


@pytest.mark.parametrize("ports", [[0], [65536], [-1], [80, 80], list(range(1, 18))])
def test_ports_are_few_and_each_is_one(ports: list[int]) -> None:
    with pytest.raises(BadInput):
        core.check_ports(ports)


def test_ports_come_in_order() -> None:
    assert core.check_ports([8888, 80, 65535, 1]) == [1, 80, 8888, 65535]


@pytest.mark.parametrize(
    "name", ["1A", "A-B", "", "A B", "NVIDIA_VISIBLE_DEVICES", "GANGLION_X", "É", "A" * 129]
)
def test_a_variable_that_cannot_be_set_is_named(name: str) -> None:
    with pytest.raises(BadInput) as refused:
        core.check_environment({name: "secret-value"})
    assert "secret-value" not in refused.value.detail


def test_variables_are_bounded_together() -> None:
    with pytest.raises(BadInput, match="131072 at most"):
        core.check_environment({f"A{i}": "x" * 30_000 for i in range(5)})
    assert core.check_environment({"A": "x" * 30_000, "_b": ""})


def test_a_value_with_a_nul_is_refused() -> None:
    with pytest.raises(BadInput, match="NUL"):
        core.check_environment({"A": "x\0y"})


@pytest.mark.parametrize("name", ["-a", "a-", "A", "a_b", "", "a" * 64, "a.b"])
def test_a_name_is_a_label(name: str) -> None:
    with pytest.raises(BadInput):
        core.check_name(name)


@pytest.mark.parametrize("server", ["https://ghcr.io", "ghcr.io/x", "", "a b", "-x.io"])
def test_a_registry_is_a_host(server: str) -> None:
    with pytest.raises(BadInput):
        core.check_server(server)


def _line(key: object) -> str:
    public = key.public_key()  # type: ignore[attr-defined]
    packed: bytes = public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return packed.decode()


@pytest.mark.parametrize(
    "line",
    [
        _line(ed25519.Ed25519PrivateKey.generate()),
        _line(ec.generate_private_key(ec.SECP256R1())),
        _line(rsa.generate_private_key(65537, 2048)),
    ],
    ids=["ed25519", "ecdsa", "rsa"],
)
def test_a_public_key_is_kept_without_its_comment(line: str) -> None:
    key = read_key(f"  {line} me@host \n")
    assert (key.line, key.comment) == (line, "me@host")
    assert re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", key.fingerprint)


def test_a_fingerprint_is_what_ssh_keygen_shows() -> None:
    assert (
        read_key(f"{GITHUB} github.com").fingerprint
        == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 é",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        'command="x" ' + GITHUB,
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
        _line(rsa.generate_private_key(65537, 1024)),
        _line(ed25519.Ed25519PrivateKey.generate()) + "\nssh-rsa AAAA",
        "x" * 9000,
    ],
    ids=["none", "kind", "short", "text", "private", "options", "mixed", "weak", "two", "long"],
)
def test_what_is_no_key_or_too_weak_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_key(text)
    assert refused.value.param == "public_key"
    assert len(text) < 20 or text not in refused.value.detail
