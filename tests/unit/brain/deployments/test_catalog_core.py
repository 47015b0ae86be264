"""Which models are asked for, what fits on which GPUs, and what that costs now."""

from __future__ import annotations

import pytest

from brain.adapters.clouds.gpus import gpu
from brain.deployments.catalog_core import Place, Wanted, find, places, variants
from brain.deployments.recipes import request_for_template
from brain.scheduling import Offer
from catalog import GPU_KINDS, Category, Engine, GpuKind, Kind, load_catalog, use_of
from kernel.clock import NS
from kernel.errors import BadInput
from kernel.ids import NodeId

CATALOG = load_catalog()
NOW = 1_800_000_000 * NS
DOLLAR = 10**9


def ids(wanted: Wanted) -> set[str]:
    return {found.template.id for found in find(CATALOG, wanted)}


def node(number: int, name: str, mib: int, price: float, **more: object) -> Offer:
    wanted = {
        "node_id": NodeId(f"node_{number:032x}"),
        "gpu_name": name,
        "vram_mib": mib,
        "free": 8,
        "total": 8,
        "price_nano": round(price * DOLLAR),
        "seen_ns": NOW,
        "node_name": f"node-{number}",
        "engine": "docker",
        **more,
    }
    return Offer(**wanted)  # type: ignore[arg-type]


def cloud(key: str, name: str, mib: int, price: float, gpus: int = 1, **more: object) -> Offer:
    said = {"cloud": "runpod", "offer_key": key, "node_name": "runpod in EU", "region": "EU"}
    return node(0, name, mib, price, free=gpus, total=gpus, **{"node_id": None, **said, **more})


def placed(model: str, offers: list[Offer]) -> dict[tuple[str, str], Place]:
    template = CATALOG.get(model)
    use = use_of(template, context=None, concurrency=None)
    asked = [(one, request_for_template(one, use)) for one in variants(template)]
    found = places(asked, use, offers, NOW)
    return {(place.gpu_name, place.quantisation): place for place in found}


@pytest.mark.feature("D1")
@pytest.mark.parametrize(
    ("wanted", "there", "not_there"),
    [
        (Wanted(category=Category.VIDEO), "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "Qwen/Qwen3-8B"),
        (Wanted(engine=Engine.VLLM_OMNI), "Qwen/Qwen-Image", "Qwen/Qwen3-8B"),
        (Wanted(kind=Kind.RERANK), "BAAI/bge-reranker-v2-m3", "BAAI/bge-m3"),
        (Wanted(licence="mit"), "microsoft/phi-4", "Qwen/Qwen3-8B"),
        (Wanted(text="META-llama 8b"), "meta-llama/Llama-3.1-8B-Instruct", "microsoft/phi-4"),
        (Wanted(text="agentic CODING"), "Qwen/Qwen3-Coder-480B-A35B-Instruct", "Qwen/Qwen3-8B"),
    ],
)
def test_a_list_is_narrowed(wanted: Wanted, there: str, not_there: str) -> None:
    found = ids(wanted)
    assert there in found
    assert not_there not in found


@pytest.mark.feature("D2")
def test_what_fits_on_a_gpu_may_do_so_quantised_or_on_several() -> None:
    one = {x.template.id: x for x in find(CATALOG, Wanted(gpu="l40s"))}
    fp8 = one["Qwen/Qwen3-14B"]
    assert (fp8.fitting.quantisation if fp8.fitting else None) == "fp8"
    assert "meta-llama/Llama-3.3-70B-Instruct" not in one
    assert "meta-llama/Llama-3.3-70B-Instruct" in ids(Wanted(gpu="l40s", gpus=8))


def test_a_gpu_that_nobody_knows_is_refused_with_those_known() -> None:
    with pytest.raises(BadInput, match=r"No such GPU is known: 'Voodoo 2'\. Known are .*H100 SXM"):
        find(CATALOG, Wanted(gpu="Voodoo 2"))


@pytest.mark.feature("D2", "B5")
def test_the_cheapest_of_nodes_and_clouds_is_the_price_now() -> None:
    found = placed(
        "Qwen/Qwen3-8B",
        [
            node(1, "H100 SXM", 81559, 3.0),
            cloud("dear", "H100 SXM", 81559, 2.9),
            cloud("cheap", "H100 SXM", 81559, 2.0, engine="docker"),
        ],
    )["H100 SXM", ""]
    assert found.choice is not None
    assert (found.choice.offer.offer_key, found.choice.gpus, found.offers) == ("cheap", 1, 3)


@pytest.mark.feature("D2", "B5")
def test_many_cheap_machines_of_the_wrong_size_hide_none_that_is_right() -> None:
    large = [cloud(f"large{n}", "H100 SXM", 81559, 1.0, gpus=8) for n in range(50)]
    right = cloud("right", "H100 SXM", 81559, 3.0)
    found = placed("microsoft/phi-4", [*large, right])["H100 SXM", ""]
    assert found.choice is not None
    assert found.choice.offer.offer_key == "right"


@pytest.mark.feature("D2")
def test_what_may_not_be_sold_has_no_price() -> None:
    shut = node(1, "L40S", 46068, 1.0, withheld="It fell silent.")
    taken = node(2, "L40S", 46068, 1.0, free=0)
    found = placed("Qwen/Qwen3-8B", [shut, taken])["L40S", ""]
    assert found.fit.fits
    assert found.choice is None


@pytest.mark.feature("D2")
def test_a_kind_that_nobody_offers_is_shown_with_its_fit_alone() -> None:
    found = placed("Qwen/Qwen3-32B", [])
    assert found["RTX 4090", ""].fit.need.gpus == 8
    assert found["RTX 4090", ""].choice is None
    assert found["H100 SXM", "int4"].fit.fits


def test_where_no_machine_has_enough_gpus_it_does_not_fit() -> None:
    found = placed("Qwen/Qwen3-32B", [node(1, "RTX 4090", 24564, 0.5, free=2, total=2)])
    assert not found["RTX 4090", ""].fit.fits


def test_real_models_have_no_place_on_simulated_gpus() -> None:
    found = placed("Qwen/Qwen3-8B", [node(1, "Simulated GPU", 81559, 0.1, simulated=True)])
    assert ("Simulated GPU", "") not in found
    image = placed("Tongyi-MAI/Z-Image-Turbo", [node(1, "Sim", 81559, 0.1, simulated=True)])
    assert ("Sim", "") not in image
    shown = placed("ganglion/stand-in", [node(1, "Sim", 8192, 0.1, simulated=True)])
    assert shown["Sim", ""].choice is not None


@pytest.mark.feature("D2")
@pytest.mark.parametrize("kind", GPU_KINDS, ids=lambda kind: kind.name)
def test_the_catalog_and_the_clouds_call_a_gpu_the_same(kind: GpuKind) -> None:
    assert (gpu(kind.name).name, gpu(kind.name).vram_mib) == (kind.name, kind.memory_mib)
