"""One name for each GPU, however a cloud spells it, and memory that is never made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.adapters.clouds.gpus import gpu

pytestmark = pytest.mark.feature("B5")
GIB = 1024


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("H100 SXM", ["NVIDIA H100 80GB HBM3", "H100 SXM", "H100 (80 GB SXM5)", "H100_SXM"]),
        ("H100 PCIe", ["NVIDIA H100 PCIe", "H100 PCIE", "H100 (80 GB PCIe)"]),
        ("H100 NVL", ["NVIDIA H100 NVL", "H100 NVL"]),
        ("H200 SXM", ["NVIDIA H200", "H200", "NVIDIA H200 SXM"]),
        ("B200", ["NVIDIA B200", "B200 (180 GB SXM6)"]),
        ("A100 SXM 80GB", ["NVIDIA A100-SXM4-80GB", "A100 (80 GB SXM4)"]),
        ("A100 PCIe 80GB", ["NVIDIA A100 80GB PCIe"]),
        ("A100 SXM 40GB", ["A100 (40 GB SXM4)", "NVIDIA A100-SXM4-40GB"]),
        ("GH200 96GB", ["GH200 (96 GB)"]),
        ("L40S", ["NVIDIA L40S", "L40S"]),
        ("L40", ["NVIDIA L40"]),
        ("L4", ["NVIDIA L4", "L4"]),
        ("A10", ["A10 (24 GB PCIe)", "A10"]),
        ("A10G", ["NVIDIA A10G"]),
        ("T4", ["Tesla T4", "NVIDIA T4"]),
        ("V100 16GB", ["Tesla V100 (16 GB)", "Tesla V100-SXM2-16GB"]),
        ("RTX 3090", ["NVIDIA GeForce RTX 3090", "RTX 3090", "RTX_3090"]),
        ("RTX 4090", ["NVIDIA GeForce RTX 4090", "RTX 4090"]),
        ("RTX 5090", ["NVIDIA GeForce RTX 5090"]),
        ("RTX A6000", ["NVIDIA RTX A6000", "RTX A6000 (48 GB)"]),
        ("RTX 6000 Ada", ["NVIDIA RTX 6000 Ada Generation", "RTX 6000Ada"]),
        ("Quadro RTX 6000", ["Quadro RTX 6000 (24 GB)", "Q RTX 6000"]),
        (
            "RTX PRO 6000",
            ["NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 WS", "RTX PRO 6000 S"],
        ),
        ("MI300X", ["AMD Instinct MI300X OAM"]),
    ],
)
def test_every_spelling_has_the_same_name(name: str, spellings: list[str]) -> None:
    found = {gpu(said).name for said in spellings}
    assert found == {name}
    assert all(gpu(said).vram_mib >= 15_000 for said in spellings)


@pytest.mark.parametrize(
    ("said", "told_gb", "name", "vram_mib"),
    [
        ("A100 PCIE", 40, "A100 PCIe 40GB", 40960),
        ("A100 PCIE", 80, "A100 PCIe 80GB", 81920),
        ("Tesla V100", 32, "V100 32GB", 32768),
        ("L40S", 48, "L40S", 46068),
        ("RTX 4090", 48, "RTX 4090 48GB", 48 * GIB),
        ("A100", 0, "A100 SXM", 0),
    ],
)
def test_memory_that_is_told_tells_sizes_apart(
    said: str, told_gb: int, name: str, vram_mib: int
) -> None:
    found = gpu(said, told_gb * GIB)
    assert (found.name, found.vram_mib) == (name, vram_mib)


def test_an_unknown_one_keeps_a_cleaned_name_and_what_is_told() -> None:
    found = gpu("  NVIDIA <b>Quux</b>\n9000  ", 12 * GIB)
    assert (found.name, found.vram_mib) == ("NVIDIA b Quux /b 9000", 12 * GIB)
    assert (found.is_known, gpu("Quux 9000").vram_mib) == (False, 0)


@given(st.text(max_size=300), st.integers(0, 10**6))
def test_any_text_has_a_name_that_stays(said: str, told_mib: int) -> None:
    found = gpu(said, told_mib)
    assert 0 < len(found.name) <= 60
    assert found.vram_mib >= 0
    assert gpu(found.name, found.vram_mib).name == found.name
