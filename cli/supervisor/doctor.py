"""``ganglion doctor``: what this machine has, and what to mend before a start."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.embedded import DatabaseUnusable
from cli.embedded.postgres import programs_folder
from cli.embedded.valkey import QueueUnusable
from cli.embedded.valkey import program as valkey_program
from cli.faults import CliError
from cli.settings import RunnerSettings
from cli.supervisor import gpus, margins, preflight, schema
from cli.supervisor.home import Home
from cli.supervisor.preflight import Listener
from migrations import known_revisions

Level = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    subject: str
    level: Level
    sentence: str
    advice: str = ""


def examine(settings: RunnerSettings) -> list[Finding]:
    """Everything that can be looked at without starting anything."""
    home = Home(settings.home)
    running = home.is_held()
    found = [_python(), *_disk(settings.home), *_open_files()]
    found.append(
        Finding("run", "ok", f"Ganglion runs on {settings.home}.")
        if running
        else Finding("run", "note", f"Nothing runs on {settings.home}.", "Start: ganglion up")
    )
    if not running:
        found += _ports(settings)
    found += [_database(settings), _queue(settings), _gpus(), _docker(), *_brain_settings()]
    found += _prices(settings.database_url or _embedded(home, running))
    return found


def _embedded(home: Home, running: bool) -> str:
    return str(home.state().get("embedded_database_url", "")) if running else ""


def _python() -> Finding:
    shown = ".".join(map(str, sys.version_info[:3]))
    try:
        preflight.check_python()
    except CliError as fault:
        return Finding("Python", "fault", fault.sentence, fault.advice)
    return Finding("Python", "ok", f"{shown} at {sys.executable}")


def _disk(folder: Path) -> Iterator[Finding]:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    try:
        preflight.check_disk(free, folder)
        yield Finding("disk", "ok", f"{free >> 30} GiB are free for {folder}.")
    except CliError as fault:
        yield Finding("disk", "fault", fault.sentence, fault.advice)
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("disk", "fault", f"{there} cannot be written to.", "Set GANGLION_HOME.")


def _open_files() -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        yield Finding(
            "open files",
            "note",
            f"At most {hard} files may be open, which ends at {hard // 2} streams.",
            "Raise the hard limit (ulimit -Hn, LimitNOFILE=).",
        )
    else:
        yield Finding("open files", "ok", f"up to {hard if hard >= 0 else 'any number'}")


def _ports(settings: RunnerSettings) -> Iterator[Finding]:
    for listener in (
        Listener("brain", settings.brain_host, settings.brain_port, "BRAIN_PORT"),
        Listener("gateway", settings.gateway_host, settings.gateway_port, "GATEWAY_PORT"),
        Listener(
            "front of pods", settings.pod_front_host, settings.pod_front_port, "POD_FRONT_PORT"
        ),
        Listener("SSH of pods", settings.ssh_host, settings.ssh_port, "SSH_PORT"),
    ):
        subject = f"port {listener.port}"
        try:
            preflight.check_port(listener)
            yield Finding(subject, "ok", f"free for the {listener.part}")
        except CliError as fault:
            yield Finding(subject, "fault", fault.sentence, fault.advice)


def _database(settings: RunnerSettings) -> Finding:
    if not settings.database_url:
        try:
            return Finding("PostgreSQL", "ok", f"embedded, from {programs_folder(os.environ)}")
        except DatabaseUnusable as unusable:
            return Finding("PostgreSQL", "fault", str(unusable))
    try:
        found = asyncio.run(schema.current_revision(settings.database_url))
    except CliError as fault:
        return Finding("PostgreSQL", "fault", fault.sentence, fault.advice)
    revisions, head = known_revisions()
    if found is not None and found not in revisions:
        return Finding(
            "PostgreSQL",
            "fault",
            f"The database is of a newer Ganglion (migration {found}; known up to {head}).",
            "Update this copy.",
        )
    level: Level = "ok" if found == head else "note"
    return Finding(
        "PostgreSQL", level, f"DATABASE_URL answers, migration {found} of {head}", "ganglion up"
    )


def _queue(settings: RunnerSettings) -> Finding:
    if not settings.redis_url:
        try:
            return Finding("Valkey", "ok", f"embedded, {valkey_program()}")
        except QueueUnusable as unusable:
            return Finding("Valkey", "fault", str(unusable))
    import redis

    try:
        redis.Redis.from_url(settings.redis_url, socket_timeout=3, socket_connect_timeout=3).ping()
    except (redis.RedisError, ValueError, OSError) as problem:
        return Finding(
            "Valkey", "fault", f"REDIS_URL does not answer: {type(problem).__name__}.", "Check it."
        )
    return Finding("Valkey", "ok", "REDIS_URL answers")


def _prices(database_url: str) -> Iterator[Finding]:
    """Services that are sold below their vendor's cost, one line each."""
    if not database_url:
        return
    sentences = asyncio.run(margins.losing(database_url))
    if sentences is None:
        yield Finding("prices", "note", "The price list cannot be read.", "ganglion up")
        return
    if not sentences:
        yield Finding("prices", "ok", "no service is sold below its vendor's cost")
    for sentence in sentences:
        yield Finding("prices", "note", sentence, "POST /api/v1/admin/prices begins a new price.")


def _gpus() -> Finding:
    count = asyncio.run(gpus.real_gpus())
    if count:
        return Finding("GPUs", "ok", f"NVML shows {count}.")
    return Finding("GPUs", "note", "NVML shows none: ganglion up simulates them and says so.")


def _docker() -> Finding:
    if shutil.which("docker") and Path("/var/run/docker.sock").exists():
        return Finding("Docker", "ok", "an engine's socket is there")
    return Finding(
        "Docker",
        "note",
        "no engine here: workers run as plain processes.",
        "Needed by providers, and for pods (AGENT_ENGINE=docker).",
    )


def _brain_settings() -> Iterator[Finding]:
    """A production environment in this shell is checked as the brain itself would."""
    if os.environ.get("ENVIRONMENT") != "production":
        yield Finding("settings", "ok", "development (ENVIRONMENT is not production)")
        return
    from brain.settings import UnsafeSettings, load

    try:
        load()
        yield Finding("settings", "ok", "production settings are safe")
    except UnsafeSettings as unsafe:
        for sentence in unsafe.sentences:
            yield Finding("settings", "fault", sentence, "The brain refuses to start with it.")
