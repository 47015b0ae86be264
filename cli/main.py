"""The ``ganglion`` command."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from cli.commands import (
    account,
    admin,
    bills,
    books,
    clouds,
    costs,
    credits,
    deployments,
    invoices,
    keeping,
    logs,
    metrics,
    models,
    nodes,
    offers,
    payments,
    payouts,
    pods,
    price_setting,
    prices,
    programs,
    provider,
    rollouts,
    run,
    secrets,
    strays,
    trust,
)
from cli.faults import CliError

HERE, ACCOUNT, MODELS = "This machine", "Account", "Models"
PODS, OTHER = "Pods", "Single programs"
PANELS = (HERE, ACCOUNT, MODELS, PODS, OTHER)


class InPanels(TyperGroup):
    """Shows the panels in our order: typer's own is single commands, then groups."""

    def list_commands(self, ctx: Any) -> list[str]:
        def place(name: str) -> int:
            panel = getattr(self.commands[name], "rich_help_panel", None)
            return PANELS.index(panel) if panel in PANELS else len(PANELS)

        return sorted(super().list_commands(ctx), key=place)


app = typer.Typer(
    name="ganglion",
    cls=InPanels,
    help="A GPU cloud marketplace: one brain, many nodes, every GPU-second accounted for.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


app.command(rich_help_panel=HERE)(run.up)
app.command(rich_help_panel=HERE)(run.status)
app.command(rich_help_panel=HERE)(run.doctor)
app.command(rich_help_panel=HERE)(run.demo)
app.command(rich_help_panel=ACCOUNT)(account.register)
app.command(rich_help_panel=ACCOUNT)(account.login)
app.add_typer(account.keys, name="keys", rich_help_panel=ACCOUNT)
app.command(rich_help_panel=ACCOUNT)(account.balance)
app.command(rich_help_panel=ACCOUNT)(payments.topup)
app.add_typer(payments.topups, name="topups", rich_help_panel=ACCOUNT)
app.add_typer(payments.cards, name="cards", rich_help_panel=ACCOUNT)
app.add_typer(payments.refill, name="refill", rich_help_panel=ACCOUNT)
app.add_typer(credits.app, name="credits", rich_help_panel=ACCOUNT)
app.add_typer(invoices.app, name="invoices", rich_help_panel=ACCOUNT)
app.command(rich_help_panel=ACCOUNT)(costs.costs)
app.add_typer(payouts.app, name="payouts", rich_help_panel=ACCOUNT)
admin.app.add_typer(payouts.admin, name="payouts")
app.command(rich_help_panel=ACCOUNT)(prices.prices)
app.command(rich_help_panel=ACCOUNT)(bills.usage)
app.command(rich_help_panel=ACCOUNT)(bills.receipt)
app.command(rich_help_panel=ACCOUNT)(books.prove)
app.command(rich_help_panel=MODELS)(models.catalog)
app.command(rich_help_panel=MODELS)(offers.offers)
app.command(rich_help_panel=MODELS)(deployments.deploy)
rollouts.add_to(deployments.app)
app.add_typer(deployments.app, name="deployments", rich_help_panel=MODELS)
app.add_typer(secrets.app, name="secret", rich_help_panel=MODELS)
app.command(rich_help_panel=MODELS)(logs.logs)
app.command(rich_help_panel=MODELS)(deployments.stop)
app.command(rich_help_panel=MODELS)(metrics.metrics)
nodes.app.command("metrics")(metrics.node_metrics)
app.add_typer(pods.app, name="pod", rich_help_panel=PODS)
app.add_typer(keeping.volumes, name="volume", rich_help_panel=PODS)
app.add_typer(keeping.keys, name="ssh-key", rich_help_panel=PODS)
app.add_typer(keeping.registries, name="registry", rich_help_panel=PODS)
trust.add_to(nodes.app, admin.app)
strays.add_to(admin.app)
price_setting.add_to(admin.app)
app.add_typer(nodes.app, name="nodes", rich_help_panel=MODELS)
app.add_typer(provider.app, name="provider", rich_help_panel=ACCOUNT)
app.command(rich_help_panel=ACCOUNT)(provider.disputes)
app.command(rich_help_panel=ACCOUNT)(provider.minutes)
app.add_typer(admin.app, name="admin", rich_help_panel=ACCOUNT)
app.add_typer(clouds.app, name="clouds", rich_help_panel=ACCOUNT)
# The other number of a group's name, for whoever types that.
OTHERWISE = (
    *(("credit", credits.app), ("invoice", invoices.app)),
    *(("key", account.keys), ("deployment", deployments.app), ("secrets", secrets.app)),
    *(("pods", pods.app), ("volumes", keeping.volumes), ("ssh-keys", keeping.keys)),
    *(("registries", keeping.registries), ("node", nodes.app), ("cloud", clouds.app)),
)
for name, group in OTHERWISE:
    app.add_typer(group, name=name, hidden=True)
for own in (programs.agent, programs.gateway, programs.stand_in):
    app.command(context_settings=programs.PASS_ON, rich_help_panel=OTHER)(own)


def main() -> None:
    """Run the command; an expected failure is one sentence on standard error and exit code 1."""
    try:
        app(prog_name="ganglion")
    except CliError as fault:
        _say(fault)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away; nothing is left to say, nor anyone to hear it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _say(fault: CliError) -> None:
    if "--json" in sys.argv:
        from cli.output import show_json

        show_json({"error": fault.sentence, "advice": fault.advice, "code": fault.code})
        return
    from cli.output import cell, errors

    errors.print(f"[red]Error:[/] {cell(fault.sentence)}", soft_wrap=True)
    if fault.advice:
        errors.print(cell(fault.advice), soft_wrap=True)


if __name__ == "__main__":
    main()
