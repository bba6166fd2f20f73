"""The command `s2rm check`: everything that can be checked before any work, as one table."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from s2rm.checks.datasets import check_data
from s2rm.checks.encoder_choice import check_encoders
from s2rm.checks.findings import Finding, attempt, format_findings
from s2rm.checks.machine import check_machine
from s2rm.checks.recording import check_recording
from s2rm.checks.surroundings import check_surroundings
from s2rm.config.load import load_params
from s2rm.config.params import Report
from s2rm.core.errors import UserError
from s2rm.core.project import PIPELINE_FILE, find_root
from s2rm.reporting.tables.published import load_published


def run_checks(path: Path | None, overrides: Sequence[str], *, as_json: bool, offline: bool) -> bool:
    """Print what all checks find.

    Args:
        path: the parameter file; None means params.yaml of the project that the current folder is in.
        overrides: `section.key=value` each.
        as_json: print a list of JSON objects instead of a table.
        offline: use no network.

    Returns:
        Whether nothing is an error.

    Raises:
        UserError: the current folder is not in a project.
    """
    root = find_root(Path.cwd())
    if root is None:
        raise UserError(
            f"{Path.cwd()} is not in a checkout of this project: there is no {PIPELINE_FILE} in it or above"
        )
    findings = list(check_all(root, path or root / "params.yaml", overrides, offline=offline))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(format_findings(findings)))
    return all(finding.status != "error" for finding in findings)


def check_all(root: Path, path: Path, overrides: Sequence[str], *, offline: bool) -> Iterator[Finding]:
    """Yield what all checks find; nothing is computed, downloaded or recorded.

    Args:
        root: folder of the project.
        path: the parameter file.
        overrides: `section.key=value` each.
        offline: use no network.
    """
    yield from check_surroundings(root)
    try:
        params = load_params(path, overrides)
    except UserError as error:
        yield Finding("parameters", "error", str(error))
        yield Finding("data, encoders, device", "not checked", "the parameters cannot be read")
        yield from check_machine(None, root)
        return
    yield Finding("parameters", "ok", os.path.relpath(path))
    yield from check_data(params, root)
    yield from check_encoders(params, root, offline=offline)
    yield from check_machine(params, root)
    yield attempt("report", lambda: _check_report(params.report))
    yield check_recording(params.tracking, root, offline=offline)


def _check_report(report: Report) -> str:
    return f"{load_published(report.methods)['method'].nunique()} published methods"
