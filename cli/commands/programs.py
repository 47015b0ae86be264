"""agent, gateway, stand-in: one program of the product by itself, in this process."""

from __future__ import annotations

import sys

import typer

PASS_ON = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


OWN = ("worker", "image", "stripe", "momo", "coinbase")


def agent(context: typer.Context) -> None:
    """The node agent: offers this machine's GPUs (its own options; try --help)."""
    from node_agent.main import main

    sys.exit(main(list(context.args)))


def gateway(context: typer.Context) -> None:
    """The gateway: the OpenAI API in front of the workers (its own options; try --help)."""
    from inference.crew import main

    sys.exit(main(list(context.args)))


def stand_in(context: typer.Context) -> None:
    """A stand-in for what cannot be had here, such as `ganglion stand-in runpod --port N`."""
    from cli.faults import CliError

    name = context.args[0] if context.args else ""
    if name == "worker":
        from standins.worker.app import main as worker

        sys.exit(worker(list(context.args[1:])))
    if name == "image":
        from standins.image import main as image

        sys.exit(image(list(context.args[1:])))
    if name == "stripe":
        from standins.payments.stripe.serve import main as stripe

        sys.exit(stripe(list(context.args[1:])))
    if name == "momo":
        from standins.payments.momo.app import main as momo

        sys.exit(momo(list(context.args[1:])))
    if name == "coinbase":
        from standins.payments.coinbase.app import main as coinbase

        sys.exit(coinbase(list(context.args[1:])))
    from standins.clouds.serve import CLOUDS
    from standins.clouds.serve import main as cloud

    if name not in CLOUDS:
        raise CliError(
            "Name a stand-in: " + ", ".join((*OWN, *CLOUDS)) + ".",
            "Such as: ganglion stand-in worker --port 9000 --model ganglion/stand-in",
        )
    sys.exit(cloud(list(context.args)))
