"""Model templates: data first. Which models there are, what they need, how they are started."""

from catalog.fit import Fit, Line, Need, Use, fit, need, parallel_choices, use_of
from catalog.launch import launch
from catalog.loader import Catalog, CatalogError, load_catalog
from catalog.schema import Category, Engine, Kind, Precision, Template

__all__ = [
    "Catalog",
    "CatalogError",
    "Category",
    "Engine",
    "Fit",
    "Kind",
    "Line",
    "Need",
    "Precision",
    "Template",
    "Use",
    "fit",
    "launch",
    "load_catalog",
    "need",
    "parallel_choices",
    "use_of",
]
