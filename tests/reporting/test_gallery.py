"""The gallery: failures first, of every split by turns, no larger than a page may be."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_inputs import ReportInputs, make_example, make_inputs

from s2rm.reporting.pages import gallery
from s2rm.reporting.run_results import load_run


def with_pictures(tmp_path: Path, kinds: list[str]) -> ReportInputs:
    examples = [replace(make_example(f"the {number} square"), kind=kind) for number, kind in enumerate(kinds)]
    return make_inputs(tmp_path / "inputs").inspect(examples)


def test_failures_come_first(tmp_path: Path) -> None:
    inputs = with_pictures(tmp_path, ["good", "wrong", "good", "poor"])
    cards, left_out = gallery.make_cards(
        [load_run(inputs.params("refshapes"), "joint", inputs.root / "results")]
    )
    assert left_out == 0
    assert [card.expression for card in cards] == [f"the {n} square" for n in (1, 3, 0, 2)]
    assert {card.run for card in cards} == {""}


def test_what_does_not_fit_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = with_pictures(tmp_path, ["wrong"] * 5)
    one = len(gallery.encode(gallery.draw(make_example()), gallery.QUALITY))
    monkeypatch.setattr(gallery, "MOST_BYTES", 3 * one)
    inputs.render("refshapes", tmp_path / "reports")
    text = (tmp_path / "reports" / "examples.html").read_text(encoding="utf-8")
    assert text.count("<li data-") == 3
    assert "2 more were chosen and left out" in text


def test_no_pictures_at_all(tmp_path: Path) -> None:
    make_inputs(tmp_path / "inputs").render("refshapes", tmp_path / "reports")
    index, examples = (
        (tmp_path / "reports" / name).read_text(encoding="utf-8") for name in ("index.html", "examples.html")
    )
    assert "<li data-" not in examples
    assert "All pictures" not in index


def test_a_text_in_a_picture_is_escaped(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path / "inputs").inspect([make_example('<b onclick="x">')])
    inputs.render("refshapes", tmp_path / "reports")
    for name in ("index.html", "examples.html"):
        assert "<b onclick" not in (tmp_path / "reports" / name).read_text(encoding="utf-8")
