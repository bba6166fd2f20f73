"""What is printed after the archives are fetched: licence and citation of all that is used."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from faulty_server import FaultyServer
from served import write_catalog, zip_of
from tiny_refer import TinyRefer

from s2rm.acquire.archives.catalog import load_catalog
from s2rm.acquire.archives.citations import describe_citations
from s2rm.config.benchmarks import BENCHMARKS
from s2rm.core.errors import UserError

ROOT = Path(__file__).parents[3]


def test_every_archive_of_our_catalog_is_named_once_with_licence_and_citation() -> None:
    catalog = load_catalog(ROOT / "archives.yaml")
    for route in ("refer", "queries"):
        text = describe_citations(catalog, BENCHMARKS, route)
        for benchmark in BENCHMARKS:
            for name in catalog.files(benchmark, route if benchmark == "referit_berkeley" else "refer").all:
                assert len(re.findall(rf"(?<![\w+]){re.escape(name)}(?=,|$)", text, re.MULTILINE)) == 1
                assert f"cite: {catalog.archive(name).citation}" in text
        assert text.count("licence: ") == text.count("cite: ") == text.count("\n") // 3


def test_an_entry_names_its_benchmarks_and_a_licence_that_the_catalog_refers_to_is_written_out() -> None:
    text = describe_citations(
        load_catalog(ROOT / "archives.yaml"), ["refcoco_plus_unc", "refcocog_umd"], "refer"
    )
    first, second, *_ = text.removeprefix("How to cite what you use:\n").split("\n  RefCOCO+, ")
    assert first.splitlines() == [
        "  RefCOCO+: refcoco+.zip",
        "    licence: Apache-2.0 (the REFER API's); COCO's annotations CC BY 4.0",
        "    cite: Yu et al., Modeling Context in Referring Expressions, ECCV 2016, arXiv 1608.00272",
    ]
    assert second.startswith("RefCOCOg (UMD): train2014.zip\n")
    assert "refcoco.zip" not in text


def test_a_benchmark_without_a_route_is_named() -> None:
    with pytest.raises(UserError, match="no route 'refer' for refshapes_structured"):
        describe_citations(load_catalog(ROOT / "archives.yaml"), ["refshapes_structured"], "refer")


def test_the_download_stage_prints_them_once_when_it_has_finished(
    tmp_path: Path, tiny_refer: TinyRefer, faulty_server: FaultyServer
) -> None:
    tiny_refer.write()
    annotations = ("refs(unc).p", "instances.json")
    archives = {
        "refcoco.zip": zip_of({name: (tiny_refer.folder / name).read_bytes() for name in annotations}),
        "train2014.zip": zip_of({path.name: path.read_bytes() for path in tiny_refer.images.iterdir()}),
    }
    for name, data in archives.items():
        (faulty_server.folder / name).write_bytes(data)
    project = tmp_path / "project"
    project.mkdir()
    facts = {"train2014.zip": {"licence": "the owners' terms", "citation": "Lin et al."}}
    write_catalog(project / "archives.yaml", faulty_server.url, archives, **facts)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"] |= {"source": "archives", "benchmarks": ["refcoco_unc"]}
    for run in params["runs"].values():
        run |= {"train_on": ["refcoco_unc"], "evaluate_on": ["refcoco_unc"]}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    environment = {
        "DVC_ROOT": str(project),
        "PYTHONPATH": str(ROOT / "src"),
        "S2RM_ARCHIVES": str(tmp_path / "store"),
    }

    def download() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "pipeline/download.py")],
            cwd=project,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = download()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "How to cite what you use:",
        "  RefCOCO: refcoco.zip",
        "    licence: none",
        "    cite: none",
        "  RefCOCO: train2014.zip",
        "    licence: the owners' terms",
        "    cite: Lin et al.",
    ]
    (tmp_path / "store" / "refcoco.zip").unlink()
    (faulty_server.folder / "refcoco.zip").unlink()
    failed = download()
    assert failed.returncode == 2
    assert failed.stdout == ""
