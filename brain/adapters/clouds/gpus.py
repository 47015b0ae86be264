"""One name for each kind of GPU, whatever a cloud calls it, and the memory its driver tells."""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB_MIB = 1024
NAME_LENGTH_MAX = 60
# A card whose told memory is further than this from the table's is another card (a soldered
# RTX 4090 with 48 GB, a slice of a larger one): it keeps what is told, and a name that says so.
TOLERANCE = 0.12


@dataclass(frozen=True, slots=True)
class Gpu:
    """``vram_mib`` is 0 where neither the table nor the cloud knows it: such a GPU fits nothing."""

    name: str
    vram_mib: int
    is_known: bool


@dataclass(frozen=True, slots=True)
class _Kind:
    """``sizes``: label in GB -> MiB as the driver tells. With several, the size is in the name."""

    pattern: re.Pattern[str]
    name: str
    sizes: dict[int, int]


def _kind(pattern: str, name: str, **sizes: int) -> _Kind:
    return _Kind(
        re.compile(pattern + r"\Z"), name, {int(label[1:]): mib for label, mib in sizes.items()}
    )


# Patterns see an upper-case name without maker, size, punctuation and words such as "Edition".
_SXM = r" (?:SXM\d?|HBM3E?|HGX)"
_KINDS: tuple[_Kind, ...] = (
    _kind(rf"GB300(?:{_SXM})?", "GB300", _288=0),
    _kind(rf"B300(?:{_SXM})?", "B300", _288=0),
    _kind(rf"GB200(?:{_SXM})?", "GB200", _186=0),
    _kind(rf"B200(?:{_SXM})?", "B200", _180=183359),
    _kind(r"GH200(?:" + _SXM + r")?", "GH200", _96=97871, _144=0),
    _kind(r"H200 NVL", "H200 NVL", _141=143771),
    _kind(rf"H200(?:{_SXM})?", "H200 SXM", _141=143771),
    _kind(r"H100 PCIE", "H100 PCIe", _80=81559),
    _kind(r"H100 NVL", "H100 NVL", _94=95830),
    _kind(rf"H100(?:{_SXM})?", "H100 SXM", _80=81559),
    _kind(r"H20", "H20", _96=97871),
    _kind(r"A100 ?X", "A100X", _80=81920),
    _kind(r"A100 PCIE", "A100 PCIe", _40=40960, _80=81920),
    _kind(rf"A100(?:{_SXM})?", "A100 SXM", _40=40960, _80=81920),
    _kind(r"A40", "A40", _48=46068),
    _kind(r"A30", "A30", _24=24576),
    _kind(r"A10G", "A10G", _24=23028),
    _kind(r"A10(?: PCIE)?", "A10", _24=23028),
    _kind(r"A16", "A16", _16=15356),
    _kind(r"A2", "A2", _16=15356),
    _kind(r"L40S", "L40S", _48=46068),
    _kind(r"L40", "L40", _48=46068),
    _kind(r"L4", "L4", _24=23034),
    _kind(r"T4", "T4", _16=15360),
    _kind(r"V100(?: (?:SXM\d|PCIE|FHHL|DGXS))?", "V100", _16=16384, _32=32768),
    _kind(r"P100(?: (?:SXM\d|PCIE))?", "P100", _16=16384, _12=12288),
    _kind(r"P40", "P40", _24=24576),
    _kind(
        r"RTX ?PRO 6000(?: (?:BLACKWELL|WS|S|WORKSTATION|SERVER|MAX Q|MAXQ|WK))*",
        "RTX PRO 6000",
        _96=97887,
    ),
    _kind(r"RTX ?PRO 5000(?: (?:BLACKWELL|WS|WORKSTATION))*", "RTX PRO 5000", _48=48935, _72=0),
    _kind(r"RTX ?PRO 4500(?: (?:BLACKWELL|WS|WORKSTATION|SERVER))*", "RTX PRO 4500", _32=32623),
    _kind(r"RTX ?PRO 4000(?: (?:BLACKWELL|WS|WORKSTATION|SFF))*", "RTX PRO 4000", _24=24467),
    _kind(r"RTX 6000 ?ADA", "RTX 6000 Ada", _48=49140),
    _kind(r"RTX 5000 ?ADA", "RTX 5000 Ada", _32=32760),
    _kind(r"RTX 4500 ?ADA", "RTX 4500 Ada", _24=24570),
    _kind(r"RTX 4000 ?(?:SFF ?)?ADA", "RTX 4000 Ada", _20=20475),
    _kind(r"RTX 2000 ?ADA", "RTX 2000 Ada", _16=16380),
    _kind(r"(?:RTX )?A6000", "RTX A6000", _48=49140),
    _kind(r"(?:RTX )?A5500", "RTX A5500", _24=24564),
    _kind(r"(?:RTX )?A5000", "RTX A5000", _24=24564),
    _kind(r"(?:RTX )?A4500", "RTX A4500", _20=20470),
    _kind(r"(?:RTX )?A4000", "RTX A4000", _16=16376),
    _kind(r"(?:RTX )?A2000", "RTX A2000", _6=6138, _12=12282),
    _kind(r"(?:Q )?RTX 8000", "Quadro RTX 8000", _48=49152),
    _kind(r"(?:Q )?RTX 6000", "Quadro RTX 6000", _24=24576),
    _kind(r"(?:Q )?RTX 5000", "Quadro RTX 5000", _16=16384),
    _kind(r"(?:Q )?RTX 4000", "Quadro RTX 4000", _8=8192),
    _kind(r"RTX 5090", "RTX 5090", _32=32607),
    _kind(r"RTX 5080", "RTX 5080", _16=16303),
    _kind(r"RTX 5070 ?TI", "RTX 5070 Ti", _16=16303),
    _kind(r"RTX 5070", "RTX 5070", _12=12227),
    _kind(r"RTX 5060 ?TI", "RTX 5060 Ti", _8=8151, _16=16311),
    _kind(r"RTX 4090 ?D", "RTX 4090 D", _24=24564),
    _kind(r"RTX 4090", "RTX 4090", _24=24564),
    _kind(r"RTX 4080 ?S(?:UPER)?", "RTX 4080 SUPER", _16=16376),
    _kind(r"RTX 4080", "RTX 4080", _16=16376),
    _kind(r"RTX 4070 ?TI ?S(?:UPER)?", "RTX 4070 Ti SUPER", _16=16376),
    _kind(r"RTX 4070 ?S TI", "RTX 4070 Ti SUPER", _16=16376),
    _kind(r"RTX 4070 ?TI", "RTX 4070 Ti", _12=12282),
    _kind(r"RTX 4070 ?S(?:UPER)?", "RTX 4070 SUPER", _12=12282),
    _kind(r"RTX 4070", "RTX 4070", _12=12282),
    _kind(r"RTX 4060 ?TI", "RTX 4060 Ti", _8=8188, _16=16380),
    _kind(r"RTX 4060", "RTX 4060", _8=8188),
    _kind(r"RTX 3090 ?TI", "RTX 3090 Ti", _24=24564),
    _kind(r"RTX 3090", "RTX 3090", _24=24576),
    _kind(r"RTX 3080 ?TI", "RTX 3080 Ti", _12=12288),
    _kind(r"RTX 3080", "RTX 3080", _10=10240, _12=12288),
    _kind(r"RTX 3070 ?TI", "RTX 3070 Ti", _8=8192),
    _kind(r"RTX 3070", "RTX 3070", _8=8192),
    _kind(r"RTX 3060 ?TI", "RTX 3060 Ti", _8=8192),
    _kind(r"RTX 3060", "RTX 3060", _12=12288),
    _kind(r"RTX 2080 ?TI", "RTX 2080 Ti", _11=11264),
    _kind(r"TITAN RTX", "Titan RTX", _24=24576),
    _kind(r"TITAN V", "Titan V", _12=12288),
    _kind(r"MI355X", "MI355X", _288=0),
    _kind(r"MI325X", "MI325X", _256=262144),
    _kind(r"MI300X", "MI300X", _192=196608),
    _kind(r"MI250X?", "MI250", _128=131072),
    _kind(r"MI210", "MI210", _64=65536),
)

_MAKERS = re.compile(
    r"\b(?:NVIDIA|AMD|GEFORCE|TESLA|INSTINCT|RADEON PRO|OAM|GENERATION|EDITION|AC|GPUS?|GRAPHICS)\b"
)
_SIZE = re.compile(r"\b(\d{1,3}) ?G(?:I?B)?\b")
_QUADRO = re.compile(r"\bQUADRO\b")


def gpu(said: str, told_mib: int = 0) -> Gpu:
    """The GPU that a cloud calls ``said``, of which it tells ``told_mib`` (0: nothing).

    An unknown one keeps its cleaned name and the memory that is told; nothing is made up.
    """
    text, label_gb = _cleaned(said)
    for kind in _KINDS:
        if kind.pattern.match(text):
            return _known(kind, label_gb, told_mib)
    plain = re.sub(r"[^\w .+()/-]", " ", said, flags=re.ASCII)
    name = " ".join(plain.split())[:NAME_LENGTH_MAX].strip() or "unknown GPU"
    return Gpu(name, told_mib or (label_gb or 0) * GIB_MIB, is_known=False)


def _cleaned(said: str) -> tuple[str, int | None]:
    """The name as patterns see it, and the size that stood in it."""
    text = re.sub(r"[^A-Z0-9]+", " ", said.upper())
    size = _SIZE.search(text)
    text = _QUADRO.sub("Q", _MAKERS.sub(" ", _SIZE.sub(" ", text)))
    return " ".join(text.split()), int(size.group(1)) if size else None


def _known(kind: _Kind, label_gb: int | None, told_mib: int) -> Gpu:
    sizes = {label: mib or told_mib or label * GIB_MIB for label, mib in kind.sizes.items()}
    told = told_mib or (label_gb or 0) * GIB_MIB
    if not told:
        if len(sizes) > 1:
            return Gpu(kind.name, 0, is_known=True)
        return Gpu(kind.name, next(iter(sizes.values())), is_known=True)
    label, mib = min(sizes.items(), key=lambda size: abs(size[1] - told))
    if abs(mib - told) > TOLERANCE * mib:
        return Gpu(f"{kind.name} {round(told / GIB_MIB)}GB", told, is_known=True)
    name = f"{kind.name} {label}GB" if len(sizes) > 1 else kind.name
    return Gpu(name, mib, is_known=True)
