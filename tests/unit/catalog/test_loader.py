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


@pytest.mark.feature("D1")
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("  layers: 24\n", "", "shape.layers: this field is required; add it"),
        ("publisher:", "prise: 1\npublisher:", "prise: there is no such field; correct its name"),
        ("id: Apache-2.0", "id: apache", "licence: id 'apache' is neither an SPDX id known here"),
        ("id: Apache-2.0", "id: LicenseRef-Own", "licence: a LicenseRef-... also needs name"),
        ("figures:", "# figures:", "figures is missing: name the config.json"),
        ("shape:", "fixed_memory_mib: 1\nshape:", "give exactly one of shape, memory and"),
        ("defaults:", "repository: a/b\ndefaults:", "repository: is not written in a file"),
        ("context: 8192", "context: 8,192", "defaults.context: Input should be a valid integer"),
        (
            "defaults:",
            "quantisations: [{id: fp8, weights: fp8}, {id: fp8, weights: fp8}]\ndefaults:",
            "quantisations: each id once",
        ),
        (
            "tied_embeddings: true",
            "cache: [{layers: 12}, {kind: sliding, layers: 13, window: 128}]",
            "cache names 25 layers; the model has 24",
        ),
        (
            "tied_embeddings: true",
            "experts: {count: 8, active: 9, width: 64}",
            "active is larger than count",
        ),
    ],
)
def test_a_fault_says_what_to_do(tmp_path: Path, before: str, after: str, said: str) -> None:
    text = GOOD.replace(before, after, 1).replace("cache: [{layers", "cache: [{kind: full, layers")
    assert any(said in line for line in faults(tmp_path, text)), faults(tmp_path, text)


@pytest.mark.feature("D1")
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("aliases: [Qwen/Qwen2.5-0.5B-Instruct]", "aliases: Qwen/Qwen2.5-0.5B-Instruct is also in"),
        ("aliases: [some/name]", "aliases: some/name is also in a.yaml"),
    ],
)
def test_a_name_stands_for_one_model(tmp_path: Path, name: str, other: str) -> None:
    first = GOOD.replace("id: Qwen/Qwen2.5-0.5B-Instruct", "id: some/name")
    (tmp_path / "a.yaml").write_text(first.replace("kind: chat", "aliases: [a/b]\nkind: chat"))
    assert any(other in line for line in faults(tmp_path, GOOD.replace("kind:", f"{name}\nkind:")))


@pytest.mark.feature("D1")
def test_ids_that_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("id: Qwen/Qwen2.5-0.5B", "id: QWEN/qwen2.5-0.5b"))
    assert "is also in a.yaml" in faults(tmp_path, GOOD)[0]


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
