"""Options of what a deployment is made of, alike where it is made and where it is changed."""

from __future__ import annotations

from typing import Annotated

import typer

Quantisation = Annotated[
    str | None, typer.Option(help="With other weights, such as fp8; see ganglion catalog.")
]
MaxPrice = Annotated[str | None, typer.Option("--max-price", help="Most dollars a GPU-hour.")]
GpuName = Annotated[str | None, typer.Option(help="Only this GPU, such as H100.")]
Tokens = Annotated[int | None, typer.Option(min=1, help="Tokens of one request, at most.")]
AtOnce = Annotated[int | None, typer.Option(min=1, max=1024, help="Requests at the same time.")]
MaxDuration = Annotated[int | None, typer.Option(min=60, help="Seconds; then it stops.")]
IdleStop = Annotated[
    int | None, typer.Option(min=60, help="It stops after so many seconds with no request.")
]
SecretNames = Annotated[
    list[str] | None, typer.Option(help="Give workers this secret; may be given again.")
]
Arguments = Annotated[
    list[str] | None, typer.Option(help="Add this to the engine's arguments (=value).")
]
DrainSeconds = Annotated[
    int | None, typer.Option(min=1, max=3600, help="Requests in flight have so long to end.")
]
Regions = Annotated[list[str] | None, typer.Option(help="Only in this region; may be given again.")]
Prefer = Annotated[
    str | None, typer.Option(help="cheapest, spread or pack.", show_default="cheapest")
]
Budget = Annotated[str | None, typer.Option(help="Dollars that it may cost in all; then it stops.")]
Least = Annotated[
    int | None,
    typer.Option("--min", min=0, max=64, help="Replicas at least; 0: it sleeps when idle."),
]
Most = Annotated[
    int | None,
    typer.Option("--max", min=1, max=64, help="Replicas at most; the load decides how many."),
]
InFlight = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Requests in flight that each is to have.")
]
DownAfter = Annotated[
    int | None, typer.Option(min=1, help="Fewer only after so many seconds of less load.")
]
ZeroAfter = Annotated[
    int | None, typer.Option(min=1, help="With --min 0: it sleeps after so many idle seconds.")
]
