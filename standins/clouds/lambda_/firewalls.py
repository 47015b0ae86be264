"""Firewall rules, of the whole account and in sets: kept and told, nothing is blocked by them."""

from __future__ import annotations

from typing import Any

from standins.clouds.lambda_.desk import (
    Call,
    Desk,
    absent,
    bad,
    duplicate,
    region,
    region_of,
    text_of,
    told,
)
from standins.clouds.shell import Answer

RULES_MAX = 100
PROTOCOLS = {"all", "icmp", "tcp", "udp"}
GLOBAL = {"id": "global", "name": "Global Firewall Rules"}


def show_rules(desk: Desk, call: Call) -> Answer:
    return told(desk.rules)


def put_rules(desk: Desk, call: Call) -> Answer:
    """Replaces them all."""
    desk.rules = _rules(call.body.get("data"))
    return told(desk.rules)


def show_global(desk: Desk, call: Call) -> Answer:
    return told(GLOBAL | {"rules": desk.rules})


def patch_global(desk: Desk, call: Call) -> Answer:
    desk.rules = _rules(call.body.get("rules"))
    return told(GLOBAL | {"rules": desk.rules})


def list_sets(desk: Desk, call: Call) -> Answer:
    return told(list(desk.rulesets.values()))


def add_set(desk: Desk, call: Call) -> Answer:
    name = text_of(call.body, "name", 64)
    if any(one["name"] == name for one in desk.rulesets.values()):
        raise duplicate("A firewall ruleset with this name already exists.")
    made: dict[str, Any] = {
        "id": desk.new_id(),
        "name": name,
        "region": region(region_of(call.body, "region")),
        "rules": _rules(call.body.get("rules")),
        "created": desk.iso(desk.world.now_ns),
        "instance_ids": [],
    }
    desk.rulesets[made["id"]] = made
    return told(made)


def show_set(desk: Desk, call: Call) -> Answer:
    return told(_known(desk, call))


def patch_set(desk: Desk, call: Call) -> Answer:
    found = _known(desk, call)
    if call.body.get("name") is not None:
        found["name"] = text_of(call.body, "name", 64)
    if call.body.get("rules") is not None:
        found["rules"] = _rules(call.body["rules"])
    return told(found)


def remove_set(desk: Desk, call: Call) -> Answer:
    del desk.rulesets[_known(desk, call)["id"]]
    return told({})


def _known(desk: Desk, call: Call) -> dict[str, Any]:
    found = desk.rulesets.get(call.place)
    if found is None:
        raise absent("The firewall ruleset does not exist.")
    return found


def _rules(given: object) -> list[dict[str, Any]]:
    if not isinstance(given, list) or len(given) > RULES_MAX:
        raise bad(f"rules must be a list of at most {RULES_MAX} rules.")
    for rule in given:
        if not isinstance(rule, dict) or rule.get("protocol") not in PROTOCOLS:
            raise bad("A rule has one of the protocols.")
        if not isinstance(rule.get("source_network"), str):
            raise bad("A rule has a source_network.")
        if (rule["protocol"] == "icmp") == ("port_range" in rule):
            raise bad("A rule has a port_range unless it is for icmp.")
    return [{"description": "", **rule} for rule in given]
