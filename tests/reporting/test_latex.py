"""The LaTeX tables, compiled: no error, nothing beyond the margins, no text below seven points."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_inputs import ReportInputs

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("pdflatex", "bibtex", "pdftotext"))),
    reason="no LaTeX: apt install texlive-latex-base texlive-latex-recommended poppler-utils",
)
DOCUMENT = r"""
\documentclass[twocolumn,10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage[letterpaper,margin=0.75in]{geometry}
\usepackage{booktabs}
\begin{document}
%s
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""
SMALLEST = 7.0  # points: digits and capitals of 8 points are boxes of at least that height


def compile_tables(folder: Path, names: list[str]) -> str:
    """Compile the tables as a paper would; return the log of the last pass."""
    (folder / "paper.tex").write_text(DOCUMENT % "\n".join(rf"\input{{{name}}}" for name in names))
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    log = ""
    for command in (latex, ["bibtex", "paper"], latex, latex):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
        log = done.stdout
        assert done.returncode == 0, log[-2000:]
    return log


@pytest.mark.parametrize("source", ["folder", "refshapes"])
@pytest.mark.slow
def test_every_table_compiles(inspected: ReportInputs, tmp_path: Path, source: str) -> None:
    inspected.render(source, tmp_path)
    folder = tmp_path / "tables"
    names = sorted(path.stem for path in folder.glob("*.tex"))
    log = compile_tables(folder, names)
    assert "undefined" not in log
    wide = [float(each) for each in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]
    assert max(wide, default=0.0) < 1.0, log
    subprocess.run(["pdftotext", "-bbox", "paper.pdf"], cwd=folder, check=True)
    words = re.findall(r'yMin="([\d.]+)"[^>]*yMax="([\d.]+)">([^<]*)<', (folder / "paper.html").read_text())
    numbers = [float(high) - float(low) for low, high, text in words if re.fullmatch(r"\d+\.\d\d", text)]
    assert len(numbers) > 50
    assert min(numbers) >= SMALLEST
