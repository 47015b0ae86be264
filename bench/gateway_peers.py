"""The gateways that ours is measured beside: nginx, vllm-router, litellm. Each has one process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench.rig import KEY, SERVER_CORE, CannotMeasure, Server, free_port, start
from tools.debian_parts import DEBIAN, debian
from tools.part import PARTS

NGINX = ["nginx", "nginx-common", "libpcre2-8-0", "libssl3", "zlib1g", "libcrypt1"]


async def start_nginx(
    worker: int, home: Path, name: str = "nginx", *, upgrades: bool = False
) -> Server:
    """``upgrades``: what asks for WebSocket gets it, and bodies of any size pass unbuffered."""
    connection = "$onwards" if upgrades else "''"
    folder = shutil.which("nginx")
    binary = Path(folder) if folder else debian(NGINX, DEBIAN / "nginx") / "usr/sbin/nginx"
    root = binary.parents[2]
    port, place = free_port(), home / "nginx"
    place.mkdir()
    (place / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {place}/pid; error_log stderr error;"
        "events { worker_connections 4096; } http { access_log off;"
        + "".join(
            f"{kind}_temp_path {place}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + "map $http_upgrade $onwards { default upgrade; '' ''; }"
        + f"upstream worker {{ server 127.0.0.1:{worker}; keepalive 512; }}"
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000;"
        " client_body_buffer_size 256k; location / {"
        "proxy_pass http://worker; proxy_http_version 1.1;"
        f"proxy_set_header Connection {connection};"
        + ("proxy_set_header Upgrade $http_upgrade; client_max_body_size 0;" if upgrades else "")
        + ("proxy_request_buffering off;" if upgrades else "")
        + "proxy_buffering off; } } }"
    )
    libraries = ":".join(
        str(root / part) for part in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
    )
    env = {} if folder else {"LD_LIBRARY_PATH": libraries}
    command = [str(binary), "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr"]
    return await start(name, command, port, core=SERVER_CORE, env=env)


async def start_router(worker: int) -> Server:
    binary, port = _peer("vllm-router"), free_port()
    command = [str(binary), "--worker-urls", f"http://127.0.0.1:{worker}", "--port", str(port)]
    return await start("vllm-router", [*command, "--policy", "round_robin"], port, core=SERVER_CORE)


async def start_litellm(worker: int, home: Path) -> Server:
    """As its documentation has it for production: one worker, no debugging, errors alone logged."""
    binary, port, file = _peer("litellm"), free_port(), home / "litellm.yaml"
    there = {"model": "openai/m", "api_base": f"http://127.0.0.1:{worker}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": "m", "litellm_params": there}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"set_verbose": False, "json_logs": True},
    }
    file.write_text(json.dumps(settings))  # which is YAML as well
    env = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
    }
    command = [str(binary), "--config", str(file), "--port", str(port), "--num_workers", "1"]
    return await start("litellm", command, port, core=SERVER_CORE, env=env, seconds_max=90)


def _peer(name: str) -> Path:
    binary = PARTS / "peers" / name / "bin" / name
    if not binary.exists():
        raise CannotMeasure("run `make bench-peers` first")
    return binary
