"""What is wrong with a template file is told by file and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog import CatalogError, load_catalog
from catalog.loader import FILE_BYTES_MAX, TEMPLATES

GOOD = (TEMPLATES / "qwen2.5-0.5b-instruct.yaml").read_text()


def faults(folder: Path, text: str | bytes) -> list[str]:
    (folder / "model.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(CatalogError) as caught:
        load_catalog(folder)
    return caught.value.faults


@pytest.mark.feature("D1")
@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("layers: 24", "layers: many", "shape.layers"),
        ("layers: 24", "layers: 0", "shape.layers"),
        ("  head_dim: 64\n", "", "shape.head_dim"),
        ("kv_heads: 2", "kv_heads: 3", "shape"),
        ("kind: chat", "kind: telepathy", "kind"),
        ("weights: bfloat16", "weights: bf16", "shape.weights"),
        ("licence:", "lizenz:", "licence"),
        ("publisher: Alibaba Cloud", "publisher: Alibaba Cloud\nprise: 1", "prise"),
        ('price_usd_per_gpu_hour: "1.20"', 'price_usd_per_gpu_hour: "-1"', "pool.price"),
        ("context: 8192", "context: 99999", "the whole"),
        ("id: Qwen/Qwen2.5-0.5B-Instruct", "id: Qwen", "id"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, before: str, after: str, field: str) -> None:
    assert before in GOOD
    said = faults(tmp_path, GOOD.replace(before, after))
    assert any(line.startswith("model.yaml: ") and field in line for line in said), said


@pytest.mark.parametrize("text", ["", "[]", "a: [", b"\xff\xfe\x00", "x" * (FILE_BYTES_MAX + 1)])
def test_what_is_no_template_is_told(tmp_path: Path, text: str | bytes) -> None:
    assert faults(tmp_path, text)[0].startswith("model.yaml: ")


def test_a_field_written_twice_is_refused(tmp_path: Path) -> None:
    assert "written twice" in faults(tmp_path, GOOD + "kind: embedding\n")[0]


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    assert "is also in a.yaml" in faults(tmp_path, GOOD)[0]


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    said = faults(
        tmp_path, GOOD.replace("layers: 24", "layers: x").replace("kind: chat", "kind: y")
    )
    assert len(said) == 2


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    said = faults(tmp_path, "id: !!python/object/apply:os.system ['true']\n")
    assert "not YAML" in said[0]
