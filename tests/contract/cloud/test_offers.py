"""Offers: whole, in integers, with a known GPU's one name; what cannot be true is left out."""

from __future__ import annotations

import pytest

from tests.contract.cloud.rigs import EMULATED, KEY, Rig

pytestmark = [
    pytest.mark.feature("B1"),
    pytest.mark.feature("B2"),
    pytest.mark.feature("B3"),
    pytest.mark.feature("B4"),
    pytest.mark.feature("B5"),
]
of_others = pytest.mark.parametrize("rig", EMULATED, indirect=True)
DOLLAR_NANO = 1_000_000_000


async def test_offers_are_whole_and_in_integers(rig: Rig) -> None:
    offers = await rig.run(rig.cloud.offers())
    assert offers
    for one in offers:
        assert one.cloud == rig.cloud.name
        assert 0 < len(one.key) <= 300
        assert one.gpu_name == " ".join(one.gpu_name.split())
        assert type(one.gpus) is type(one.vram_mib) is type(one.price_nano) is int
        assert one.gpus >= 1
        assert one.vram_mib >= 8_000
        assert DOLLAR_NANO // 100 <= one.price_nano <= 100 * DOLLAR_NANO
        assert one.storage_nano_gib_hour >= 0


async def test_an_offers_key_is_its_own_and_stays(rig: Rig) -> None:
    first = {one.key: one for one in await rig.run(rig.cloud.offers())}
    again = await rig.run(rig.cloud.offers())
    assert len(first) == len(again)
    assert {one.key: (one.gpu_name, one.gpus, one.region) for one in again} == {
        key: (one.gpu_name, one.gpus, one.region) for key, one in first.items()
    }


@of_others
@pytest.mark.parametrize("price_nano", [-DOLLAR_NANO, 0, 10**18])
async def test_a_price_that_cannot_be_true_is_left_out(rig: Rig, price_nano: int) -> None:
    rig.fail("price", "offers", times=0, price_nano=price_nano)
    assert await rig.run(rig.cloud.offers()) == []


@of_others
async def test_an_unknown_gpu_is_kept_under_its_name(rig: Rig) -> None:
    rig.fail("unknown_gpu", "offers", times=0)
    found = {one.gpu_name: one.vram_mib for one in await rig.run(rig.cloud.offers())}
    strange = [name for name in found if "Quux 9000" in name]
    assert strange
    told = {found[name] for name in strange}
    assert all(mib == 0 or 20_000 <= mib <= 25_000 for mib in told), "as told, or nothing"


async def test_a_cloud_does_not_show_its_key(rig: Rig) -> None:
    await rig.run(rig.cloud.offers())
    shown = repr(rig.cloud) + repr(vars(rig.cloud)) + repr(rig.cloud.facts)
    assert KEY not in shown
