"""The report reads what evaluation wrote about a run."""

from pathlib import Path

import numpy as np
import pytest
from report_inputs import make_example, make_inputs, make_view, make_weights, make_words

from s2rm.core.errors import UserError
from s2rm.reporting.examples import load_inspection


@pytest.mark.parametrize(
    ("source", "title"), [("refshapes", "RefShapes (as RefCOCO)"), ("folder", "RefCOCO")]
)
def test_examples_are_read_and_named_by_their_data(tmp_path: Path, source: str, title: str) -> None:
    examples = [make_example(), make_example("another one", height=50)]
    inputs = make_inputs(tmp_path).inspect(examples)
    found = load_inspection(inputs.results / "inspect", source=source)
    assert [example.expression for example in found.examples] == ["the red square", "another one"]
    for example, made in zip(found.examples, examples, strict=True):
        assert example.title == f"{title} val"
        assert example.iou == made.iou
        assert example.image.size == made.image.size
        np.testing.assert_array_equal(example.truth, made.truth)
        np.testing.assert_array_equal(example.predicted, made.predicted)
    assert found.view is None
    assert found.words is None
    assert found.weights.empty


def test_the_views_have_their_own_examples(tmp_path: Path) -> None:
    view, words = make_view(make_example("of the gates")), make_words(make_example("of the words"))
    inputs = make_inputs(tmp_path).inspect([make_example()], view, make_weights(), words)
    found = load_inspection(inputs.results / "inspect", source="refshapes")
    assert [example.expression for example in found.examples] == ["the red square"]
    assert found.view is not None
    assert found.view.example.expression == "of the gates"
    assert (found.view.stage, found.view.places) == (view.stage, view.places)
    for name in ("gates", "weights", "shares"):
        np.testing.assert_array_equal(getattr(found.view, name), getattr(view, name))
    assert found.words is not None
    assert found.words.example.expression == "of the words"
    for name in ("stage", "tokens", "special", "kind"):
        assert getattr(found.words, name) == getattr(words, name)
    np.testing.assert_array_equal(found.words.affinity, words.affinity)
    assert found.weights.equals(make_weights())


@pytest.mark.parametrize(
    "name",
    ["examples.parquet", "gates.json", "gates.npz", "words.json", "words.npz", "balancing.parquet"],
)
def test_a_damaged_file_gives_one_line(tmp_path: Path, name: str) -> None:
    inputs = make_inputs(tmp_path).inspect([make_example()], make_view(), make_weights(), make_words())
    (inputs.results / "inspect" / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match="evaluate the run again") as caught:
        load_inspection(inputs.results / "inspect", source="refshapes")
    assert "\n" not in str(caught.value)


def test_a_missing_folder_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="evaluate the run again"):
        load_inspection(tmp_path / "inspect", source="refshapes")
