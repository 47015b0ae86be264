"""Model templates: data first. Which models there are, what they need, how they are started."""

from catalog.fit import (
    Fit,
    GpuFit,
    Need,
    disk_gib,
    fit,
    fits_by_kind,
    need,
    parallel_choices,
    smallest_gpu,
    use_of,
    weight_bytes,
)
from catalog.gpus import GPU_KINDS, GpuKind, gpu_kinds
from catalog.launch import launch
from catalog.loader import Catalog, CatalogError, load_catalog
from catalog.measured import Started, surplus
from catalog.schema import Category, Engine, Kind, Measured, Quantisation, Template
from catalog.shape import Precision
from catalog.sums import Line, Use

__all__ = [
    "GPU_KINDS",
    "Catalog",
    "CatalogError",
    "Category",
    "Engine",
    "Fit",
    "GpuFit",
    "GpuKind",
    "Kind",
    "Line",
    "Measured",
    "Need",
    "Precision",
    "Quantisation",
    "Started",
    "Template",
    "Use",
    "disk_gib",
    "fit",
    "fits_by_kind",
    "gpu_kinds",
    "launch",
    "load_catalog",
    "need",
    "parallel_choices",
    "smallest_gpu",
    "surplus",
    "use_of",
    "weight_bytes",
]
