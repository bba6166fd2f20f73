"""The sentences of refs as typed objects, each with an id that is unique in the benchmark."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from s2rm.refer.forms import LARGEST_ID, MalformedError, get_text, get_value, name_record, read_numbers
from s2rm.refer.issues import Issues
from s2rm.refer.records import Ref


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence that refers to the object of a ref."""

    id: int
    ref_id: int
    expression: str  # white space stripped, single spaces between words


def read_sentences(
    refs: Iterable[Ref], starts: Mapping[int, int], key: str, issues: Issues
) -> list[Sentence]:
    """Return the sentences of all refs, each with a sent_id that is unique in the file.

    The sentences' own ids are kept if every sentence has one and no two have the same. Otherwise, as where a
    script counts within each ref, each sentence gets its position among all sentences of the file.

    Args:
        refs: the refs whose sentences are read.
        starts: the id of a ref → the position of its first sentence among all sentences of the file.
        key: the form that becomes the expression, `sent` or `raw`.
        issues: what is wrong with a sentence is added to it.
    """
    sentences: list[Sentence] = []
    positions: list[int] = []
    first: dict[int, Sentence] = {}
    odd: list[tuple[str, str]] = []  # sentences without an id of their own
    for ref in refs:
        for index, record in enumerate(ref.sentences):
            place = f"sentence #{index} of ref {ref.id}"
            sentence = _sentence(record, ref.id, key, place, issues)
            if sentence is None:
                continue
            if sentence.id < 0:
                odd.append((place, f"{place} has no sent_id"))
            elif first.setdefault(sentence.id, sentence) is not sentence:
                if first[sentence.id] == sentence:
                    issues.add("duplicate_sentence", sentence.id, f"{place}, sent_id {sentence.id}")
                    continue
                odd.append((place, f"{place} has the sent_id {sentence.id} of another one"))
            sentences.append(sentence)
            positions.append(starts[ref.id] + index)
    if not odd:
        return sentences
    for place, reason in odd:
        issues.add("sentence_numbered", place, reason)
    return [replace(each, id=position) for each, position in zip(sentences, positions, strict=True)]


def _sentence(record: Any, ref_id: int, key: str, place: str, issues: Issues) -> Sentence | None:
    """Return a sentence, its id −1 where it has none; None where it is unusable, which is reported."""
    if isinstance(record, str):
        issues.add("sentence_form", place, f"{place} is a plain text")
        record = {"sent": record, "raw": record}
    record, read = read_numbers(record)
    if "sent_id" in read:
        issues.add("number_form", record["sent_id"], f"{place}: sent_id")
    try:
        expression = _expression(record, key, place, issues)
    except MalformedError as error:
        issues.add("malformed_sentence", name_record(record, "sent_id", place), f"{place}: {error}")
        return None
    own = record.get("sent_id")
    if type(own) is not int or not 0 <= own <= LARGEST_ID:
        own = -1
    if not expression:
        issues.add("empty_expression", place if own < 0 else own, place)
        return None
    return Sentence(own, ref_id, expression)


def _expression(record: dict[str, Any], key: str, place: str, issues: Issues) -> str:
    """Return the sentence with single spaces; the other of `sent` and `raw` where it is missing or empty."""
    other = "raw" if key == "sent" else "sent"
    if get_value(record, key) is None and isinstance(record.get(other), str):
        issues.add("sentence_form", name_record(record, "sent_id", place), f"{place} has only {other!r}")
        return " ".join(get_text(record, other).split())
    text = " ".join(get_text(record, key).split())
    if text or not isinstance(record.get("raw"), str):
        return text
    typed = " ".join(get_text(record, "raw").split())
    if typed:
        issues.add("expression_as_typed", name_record(record, "sent_id", place), place)
    return typed
