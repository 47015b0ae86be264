"""Reads the template files; an error names the file and the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import ValidationError

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


class _Loader(yaml.SafeLoader):
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

    def __iter__(self) -> Iterator[Template]:
        return iter(self.by_id.values())

    def get(self, model_id: str) -> Template:
        """The template, or ``NotFound`` with what is near."""
        found = self.by_id.get(model_id)
        if found is not None:
            return found
        raise NotFound(
            f"The catalog has no model {model_id[:96]!r}. GET /api/v1/catalog lists what it has.",
            code="model_not_found",
            param="model",
        )

    def of_kind(self, kind: Kind | None) -> list[Template]:
        """Those listed, of one kind or of all."""
        return [t for t in self if t.listed and (kind is None or kind == t.kind or kind in t.also)]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.by_id)


def load_catalog(folder: Path = TEMPLATES) -> Catalog:
    """Read every ``*.yaml`` of the folder. Raises ``CatalogError`` with all faults of all files."""
    faults: list[str] = []
    found: dict[str, tuple[Template, str]] = {}
    for path in sorted(folder.glob("*.yaml"))[:FILES_MAX]:
        template, wrong = read_template(path)
        faults.extend(wrong)
        if template is None:
            continue
        if template.id in found:
            faults.append(f"{path.name}: id: {template.id} is also in {found[template.id][1]}")
        found[template.id] = (template, path.name)
    if faults:
        raise CatalogError(faults)
    return Catalog({key: found[key][0] for key in sorted(found)})


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
            f"{path.name}: {_field(fault['loc'])}: {fault['msg']}" for fault in error.errors()
        ]


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the whole"
