"""The wording check finds the idioms, and lets correct English pass."""

from pathlib import Path

import pytest
from check_wording import EXCLUDED, find_idioms, list_texts, main

WRONG = (
    "params.yaml is no YAML",
    "which are no images of the benchmark",
    "it was no overfitting",
    "how to mend it",
    "a mended comment retrains nothing",
    "A signal is heeded at the next step.",
    "what is amiss in an archive",
    "the training begins anew",
    "Positions and anchors come by turns.",
    "no GPU was at hand",
    "a GPU is wanting",
    "a file, be it empty or not",
    "the training takes up its state",
    "it takes up where it was stopped",
    "gives back nothing",
    "An image is told by its path.",
    "what the machine is told",
    "a table with a row an expression",
    "a run a trained model",
    "a panel a sweep direction",
    "One projection a stage but the first.",
    "A row a val split",
    "scores an expression a row",
    "200 images a benchmark",
    "up to 6 expressions an image",
    "More images a batch give a better result.",
    "two rows a role",
    "25.8 GFLOPs an expression",
)
CORRECT = (
    "There is no lock file.",
    "where there is no GPU",
    "there is also no GPU",
    "The file is no longer needed.",
    "the copy is no larger than the archive",
    "it is not a valid lock file",
    "an amendment, and commendable",
    "by taking turns",
    "a handful, and at the hand of a clock",
    "users wanting to train",
    "A batch takes up to 6 expressions.",
    "as the maybe item says",
    "one row per expression",
    "gives the images of a benchmark",
    "how many expressions a ref has",
    "bytes a second",
    "It maps a block and runs a stage.",
    "a benchmark has an image and a mask",
    "a row or a column, a row of a table",
    "in each batch, an image may appear twice",
    "a polygon nor a run length",
)


@pytest.mark.parametrize("sentence", WRONG)
def test_an_idiom_is_found_once(sentence: str) -> None:
    assert len(find_idioms(sentence)) == 1


@pytest.mark.parametrize("sentence", CORRECT)
def test_correct_english_passes(sentence: str) -> None:
    assert find_idioms(sentence) == []


@pytest.mark.parametrize(
    "text",
    [
        "# one row an\n# expression",
        '    """One row an\n    expression."""',
        'f"{path} has one row an "\n        f"expression"',
        "> one row an\n> expression",
    ],
)
def test_an_idiom_may_go_over_two_lines(text: str) -> None:
    (found,) = find_idioms(f"first line\n{text}")
    assert found.line == 2


def test_findings_come_in_the_order_of_their_lines() -> None:
    assert [found.line for found in find_idioms("anew\n\nat hand\nanew")] == [1, 3, 4]


def test_the_command_prints_file_and_line_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.md").write_text("One row per expression.\n")
    assert main([str(tmp_path)]) == 0
    (tmp_path / "bad.md").write_text("Correct.\nOne row an expression.\n")
    (tmp_path / "picture.png").write_bytes(b"\xffanew")
    assert main([str(tmp_path)]) == 1
    printed, counted = capsys.readouterr()
    assert printed == f"{tmp_path / 'bad.md'}:2: 'One row an expression': write 'one … per …'\n"
    assert counted == "1 idiom found\n"


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing")]) == 2
    assert "missing" in capsys.readouterr().err


def test_the_checker_itself_is_not_checked() -> None:
    own = EXCLUDED[0]
    assert own.name == "check_wording.py"
    assert own not in list_texts([own.parent])
