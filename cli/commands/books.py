"""prove: every identity of the books, each with how much was looked at and what breaks it."""

from __future__ import annotations

import sys
from typing import Any

from cli.commands.common import BrainUrl, Json, connect
from cli.output import cell, console, show_json, table, waiting


def prove(brain_url: BrainUrl = None, json: Json = False) -> None:
    """Prove the books over all rows, now (administrator). Exit 1 when an identity is broken."""
    with connect(brain_url, user=True) as brain, waiting("looking at every row"):
        found: dict[str, Any] = brain.get("/api/v1/admin/proofs")
        losing = brain.get("/api/v1/admin/prices/margins", losing=True)
    found["warnings"] = [one["sentence"] for one in losing]
    if json:
        show_json(found)
    else:
        _show(found)
    if not found["holds"]:
        sys.exit(1)


def _show(found: dict[str, Any]) -> None:
    table(
        "",
        ["proof", ">looked at", ">broken", "law"],
        [
            [
                cell(proof["name"]),
                f"{proof['count']:,}",
                "0" if proof["holds"] else f"[bold red]{proof['broken']:,}[/]",
                cell(proof["law"]),
            ]
            for proof in found["proofs"]
        ],
    )
    if (seal := found["seal"]) is not None:
        console.print(
            f"Seal {seal['number']}: {cell(seal['hash'])}\n"
            "Keep it elsewhere: nothing before it can change without changing it."
        )
    broken = sum(1 for proof in found["proofs"] if not proof["holds"])
    if broken:
        console.print(f"[bold red]{broken} of {len(found['proofs'])} identities are broken.[/]")
    else:
        console.print(f"[green]✓[/] All {len(found['proofs'])} identities hold.")
    for sentence in found["warnings"]:
        console.print(f"[yellow]![/] {cell(sentence)}", soft_wrap=True)
