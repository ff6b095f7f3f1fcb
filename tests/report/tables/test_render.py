"""CSV that no spreadsheet runs, and LaTeX that compiles, whatever a run is called."""

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from dl2cli.report.tables.render import LATEX_ROWS, to_csv, to_latex
from dl2cli.report.tables.table import Column, Style, Table

NAMES = [
    "[bold]x[/bold]", "*x", "a -- b", "50%_&$#{}~^\\", "$\\frac{$", "x" * 230, "100$ vs 200$",
    "\\end{document}", "🚀", "é", "Ω", "ａ", "<script>", "a|b", 'q"uo', "ap'os", "`back`", "",
    "%", "\\", "{", "}", "&", "µs", "1…2", "-2+3",
]  # fmt: skip


def table(names: list[str]) -> Table:
    columns = (Column("run", "Run"), Column("n", "Count", style=Style.NUMBER))
    return Table("t", "Runs & more", columns, tuple((name, 1.5) for name in names))


def test_a_cell_that_a_spreadsheet_would_run_is_text() -> None:
    names = ["=1+1", "+1", "-2+3", "@SUM(1)", "plain", "a=b"]
    rows = list(csv.reader(io.StringIO(to_csv([table(names)]))))[1:]
    assert [row[0] for row in rows] == ["'=1+1", "'+1", "'-2+3", "'@SUM(1)", "plain", "a=b"]
    negative = Table("t", "T", (Column("n", "N", style=Style.NUMBER),), ((-1.5,),))
    assert to_csv([negative]) == "n\n-1.5\n", "a number stays one"


def test_latex_escapes_and_splits() -> None:
    latex = to_latex([table(NAMES)])
    assert r"\caption{Runs \& more}" in latex
    assert "{[}bold]x{[}/bold]" in latex
    assert "{[}U+1F680]" in latex
    long = to_latex([table(["x"] * (LATEX_ROWS + 1))])
    assert long.count(r"\begin{tabular}") == 2
    assert "(part 2 of 2)" in long


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles_and_fits_a_page(tmp_path: Path) -> None:
    document = (
        r"\documentclass{article}\usepackage{booktabs,adjustbox}\begin{document}"
        + to_latex([table(NAMES), table(NAMES * 2)])
        + r"\end{document}"
    )
    (tmp_path / "t.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
