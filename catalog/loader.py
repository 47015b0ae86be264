"""Reads the template files; an error names the file, the field and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from catalog.fit import GpuFit, smallest_gpu, use_of
from catalog.schema import Kind, Template
from kernel.errors import NotFound

TEMPLATES = Path(__file__).parent / "templates"
FILES_MAX = 1000
FILE_BYTES_MAX = 64 * 1024


class CatalogError(ValueError):
    """A template file is wrong. The text has one line a fault: file, field, what is expected."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


if TYPE_CHECKING:
    _Safe = yaml.SafeLoader
else:  # the same in C, where PyYAML was built with it: ten times as quick
    _Safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):
    """YAML that refuses a key written twice: the first value would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key!r} is written twice", node.start_mark
                )
        return super().construct_mapping(node, deep=deep)


@dataclass(frozen=True)
class Catalog:
    """The templates by id, in the order of their ids."""

    by_id: Mapping[str, Template]
    _quantised: dict[str, Template] = field(default_factory=dict, repr=False, compare=False)
    _smallest: dict[str, GpuFit | None] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[Template]:
        return iter(self.by_id.values())

    def get(self, model_id: str) -> Template:
        """The template of an id, an alias, or ``<id>:<quantisation>``; ``NotFound`` with what
        is near, ``BadInput`` for a quantisation that the model is not offered in."""
        name, colon, quantisation = model_id.partition(":")
        found = self.by_id.get(name) or self._by_alias.get(name.lower())
        if found is None:
            raise NotFound(
                f"The catalog has no model {model_id[:96]!r}. GET /api/v1/catalog lists what it "
                "has.",
                code="model_not_found",
                param="model",
            )
        if not colon:
            return found
        key = f"{found.id}:{quantisation}"
        if key not in self._quantised:
            self._quantised[key] = found.quantised(quantisation)
        return self._quantised[key]

    def of_kind(self, kind: Kind | None) -> list[Template]:
        """Those listed, of one kind or of all."""
        return [t for t in self if t.listed and (kind is None or kind in t.kinds)]

    def smallest(self, template: Template) -> GpuFit | None:
        """The least GPUs for its default use. Reckoned once: a file does not change."""
        if template.id not in self._smallest:
            use = use_of(template, context=None, concurrency=None)
            self._smallest[template.id] = smallest_gpu(template, use)
        return self._smallest[template.id]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.by_id)

    @cached_property
    def _by_alias(self) -> Mapping[str, Template]:
        """By alias, and by id however its letters are written."""
        named = {name.lower(): t for t in self for name in t.aliases}
        return {**named, **{t.id.lower(): t for t in self}}


def load_catalog(folder: Path = TEMPLATES) -> Catalog:
    """Read every ``*.yaml`` of the folder. Raises ``CatalogError`` with all faults of all files.

    Those that come with the program are read once a process.
    """
    return _own() if folder == TEMPLATES else _read(folder)


@cache
def _own() -> Catalog:
    return _read(TEMPLATES)


def _read(folder: Path) -> Catalog:
    faults: list[str] = []
    found: list[Template] = []
    owners: dict[str, str] = {}  # a name in small letters -> the file that has it
    for path in sorted(folder.glob("*.yaml"))[:FILES_MAX]:
        template, wrong = read_template(path)
        faults.extend(wrong)
        if template is None:
            continue
        faults.extend(_taken(template, path.name, owners))
        found.append(template)
    if faults:
        raise CatalogError(faults)
    return Catalog({t.id: t for t in sorted(found, key=lambda t: t.id)})


def read_template(path: Path) -> tuple[Template | None, list[str]]:
    """One file's template, or its faults."""
    text = path.read_bytes()[: FILE_BYTES_MAX + 1]
    if len(text) > FILE_BYTES_MAX:
        return None, [f"{path.name}: the file is larger than {FILE_BYTES_MAX // 1024} KiB"]
    try:
        loaded = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader, stricter
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return None, [f"{path.name}: not YAML: {' '.join(str(error).split())}"]
    if not isinstance(loaded, dict):
        return None, [f"{path.name}: a mapping of fields is expected at the top"]
    try:
        return Template.model_validate(loaded), []
    except ValidationError as error:
        return None, [
            f"{path.name}: {_field(fault['loc'])}: {_what_to_do(fault)}"
            for fault in error.errors(include_url=False)
        ]


def _taken(template: Template, file: str, owners: dict[str, str]) -> list[str]:
    """Faults of names that another file, or this one, already has."""
    faults = []
    for what, name in [("id", template.id), *(("aliases", alias) for alias in template.aliases)]:
        other = owners.setdefault(name.lower(), file)
        if other != file or (what == "aliases" and name.lower() == template.id.lower()):
            faults.append(
                f"{file}: {what}: {name} is also in {other}; a name stands for one model, "
                "take it out of one of them"
            )
    return faults


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the whole"


def _what_to_do(fault: Any) -> str:
    """The fault in words that say what to write instead."""
    kind, said = fault["type"], str(fault["msg"])
    if kind == "missing":
        return "this field is required; add it"
    if kind == "extra_forbidden":
        return "there is no such field; correct its name or take it out"
    if kind == "value_error":
        return said.removeprefix("Value error, ")
    return f"{said}; it is {str(fault.get('input'))[:60]!r}"
