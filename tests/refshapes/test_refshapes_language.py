"""Each expression is true of its referent alone, by a checker that reads the text only."""

import pytest

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.refshapes import compose
from s2rm.refshapes.grammar import EXTREMES, PLACES, RELATIONS, parse
from s2rm.refshapes.semantics import denotation

LOCATION_WORDS = {*PLACES, *EXTREMES, "far", "side", "corner", "at", "on", "to"}
LOCATION_WORDS |= {word for words in RELATIONS for word in words} - {"the"}
SLICES = [(name, split) for name, benchmark in BENCHMARKS.items() for split in benchmark.splits]


@pytest.mark.parametrize(("name", "split"), SLICES)
def test_every_expression_is_true_of_its_referent_alone(name, split):
    for index in range(40):
        composition = compose(3, name, split, index)
        assert 3 <= len(composition.scene.things) <= 7
        assert len(composition.refs) >= 2
        for ref in composition.refs:
            assert len(set(ref.expressions)) == len(ref.expressions) > 0
            for expression in ref.expressions:
                assert denotation(expression, composition.scene) == {ref.region}, expression


@pytest.mark.parametrize("name", BENCHMARKS)
def test_written_expressions_belong_to_the_scene_of_their_image(written, name):
    """The refs on disk, in order, are those of the scenes composed again."""
    composed = [
        list(ref.expressions)
        for split in BENCHMARKS[name].splits
        for index in range(30 if split == "train" else 10)
        for ref in compose(7, name, split, index).refs
    ]
    assert [[sentence["sent"] for sentence in ref["sentences"]] for ref in written.refs[name]] == composed


def test_refcoco_plus_has_no_location_words(written):
    tokens = {
        token
        for ref in written.refs["refcoco_plus_unc"]
        for sentence in ref["sentences"]
        for token in sentence["tokens"]
    }
    assert not tokens & LOCATION_WORDS


@pytest.mark.parametrize("name", ["refcoco_unc", "refcoco_plus_unc"])
def test_referents_of_test_a_are_persons_and_of_test_b_are_not(written, name):
    (person,) = (each["id"] for each in written.instances[name]["categories"] if each["name"] == "person")
    for ref in written.refs[name]:
        if ref["split"] in ("testA", "testB"):
            assert (ref["category_id"] == person) == (ref["split"] == "testA")


@pytest.mark.parametrize("name", ["refcocog_umd", "refcocog_google"])
def test_refcocog_is_relational_where_attributes_do_not_do(name):
    refs = relational = 0
    for index in range(80):
        composition = compose(3, name, "train", index)
        for ref in composition.refs:
            refs += 1
            if composition.scene.has_twin(composition.scene.things[ref.region]):
                relational += 1
                assert all(parse(expression).relation for expression in ref.expressions)
    assert 0.3 <= relational / refs <= 0.6


def test_the_category_alone_seldom_tells_the_referent():
    """Otherwise a model could do without most of the language."""
    unique = refs = 0
    for index in range(100):
        composition = compose(3, "refcoco_unc", "train", index)
        categories = [thing.category for thing in composition.scene.things]
        for ref in composition.refs:
            refs += 1
            unique += categories.count(categories[ref.region]) == 1
    assert unique / refs < 0.4


def test_referit_names_background_regions():
    named = [
        index
        for index in range(40)
        for composition in [compose(3, "referit_berkeley", "train", index)]
        if any(ref.region >= len(composition.scene.things) for ref in composition.refs)
    ]
    assert len(named) > 20


def test_no_scene_is_in_two_splits():
    digests = [{compose(7, name, split, index).scene.digest for index in range(40)} for name, split in SLICES]
    assert len(set.union(*digests)) == sum(len(each) for each in digests) == 40 * len(SLICES)
