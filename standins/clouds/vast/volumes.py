"""Local volumes: disk of one host, rented by itself."""

from __future__ import annotations

from typing import Any

from kernel.clock import NS
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.shell import Answer, as_json
from standins.clouds.vast.desk import Call, Desk, bad, success
from standins.clouds.vast.market import RENTAL_DAYS_MAX, ask_number, fits, host_row, number_of, sort

SIZE_DEFAULT = 15
LIMIT_DEFAULT = 64


def search(desk: Desk, call: Call) -> Answer:
    """POST /volumes/search/: one offer for each host."""
    rows = [row for row in _offers(desk) if fits(row, call.body)]
    sort(rows, call.body.get("order") or [["score", "desc"]])
    return success(offers=rows[: int(number_of(call.body.get("limit")) or LIMIT_DEFAULT)])


def create(desk: Desk, call: Call) -> Answer:
    """PUT /volumes/ with the offer's id and a size in GB."""
    ask, size = number_of(call.body.get("id")), number_of(call.body.get("size", SIZE_DEFAULT))
    offer = next((one for one in _offers(desk) if one["id"] == ask), None)
    if offer is None:
        raise Refused(Trouble.NO_CAPACITY, "This volume is not available.")
    if size is None or not 1 <= size <= offer["disk_space"]:
        raise bad("size must be 1 GB to what the offer has")
    number = desk.number()
    name = str(call.body.get("name") or f"volume-{number}")[:64]
    desk.volumes[number] = offer | {
        "id": number,
        "label": name,
        "disk_space": size,
        "status": "active",
        "instances": [],
        "start_date": desk.seconds(desk.world.now_ns),
    }
    return success(volume_id=number, volume_name=name)


def show(desk: Desk, call: Call) -> Answer:
    return as_json({"success": True, "volumes": list(desk.volumes.values())})


def remove(desk: Desk, call: Call) -> Answer:
    number = number_of(call.request.one("id") or call.body.get("id"))
    if number is None or int(number) not in desk.volumes:
        raise Refused(Trouble.MISSING, "There is no such volume.")
    del desk.volumes[int(number)]
    return success(msg="Volume deleted.")


def _offers(desk: Desk) -> list[dict[str, Any]]:
    now = desk.world.now_ns
    lasts = RENTAL_DAYS_MAX * 86_400.0
    return [
        host_row(stock)
        | {
            "id": ask_number(stock.key, 1 << 20),
            "duration": lasts,
            "score": 1.0,
            "start_date": desk.seconds(now),
            "end_date": desk.seconds(now + round(lasts * NS)),
        }
        for stock in desk.world.stocks.values()
    ]
