"""Files of predictions: odd ones are read, bad ones give one line."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from s2rm.core.errors import UserError
from s2rm.scoring.predictions import RECORDED, read_predictions

RECORD = {"sent_id": 1, "mask": "a.png"}


def read(folder: Path, name: str, content: str | bytes) -> list[Any]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_predictions(path))


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_a_byte_order_mark(tmp_path: Path, suffix: str) -> None:
    text = "sent_id,mask\n1,a.png\n" if suffix == ".csv" else json.dumps([RECORD])[suffix == ".jsonl" :]
    (found,) = read(tmp_path, f"p{suffix}", "\ufeff" + text.removesuffix("]" if suffix == ".jsonl" else ""))
    assert (found.sent_id, found.mask) == (1, "a.png")


def test_a_long_cell(tmp_path: Path) -> None:
    usual = csv.field_size_limit()
    (found,) = read(tmp_path, "p.csv", f"sent_id,mask\n1,{'a' * 200_000}\n")
    assert len(found.mask) == 200_000
    assert csv.field_size_limit() == usual


def test_a_key_of_sentences_that_is_there_twice(tmp_path: Path) -> None:
    found = read(tmp_path, "p.json", '{"7": "a.png", "8": "c.png", "7": "b.png"}')
    assert [(each.sent_id, each.mask) for each in found] == [(7, "a.png"), (8, "c.png"), (7, "b.png")]


def test_what_an_evaluation_recorded(tmp_path: Path) -> None:
    row = {**RECORD, "score": float("nan"), **dict.fromkeys(RECORDED, 5)}
    pd.DataFrame([row]).to_parquet(tmp_path / "p.parquet")
    (found,) = read_predictions(tmp_path / "p.parquet")
    assert found.recorded == dict.fromkeys(RECORDED, 5)
    assert found.score is None
    assert read(tmp_path, "p.json", json.dumps([{**RECORD, "union_model": 5}]))[0].recorded is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.json", '[{"sent_id": 1e999, "mask": "a"}]', "record 1: sent_id is inf, not a whole number"),
        ("p.json", '[{"sent_id": 1.5, "mask": "a"}]', "sent_id is 1.5, not a whole number"),
        ("p.json", '[{"sent_id": true, "mask": "a"}]', "sent_id is True, not a whole number"),
        (
            "p.json",
            '[{"sent_id": 1, "sent_id": 2, "mask": "a"}]',
            "record 1 has a key twice: sent_id, sent_id, mask",
        ),
        ("p.jsonl", "7", "record 1 is not an object with keys but 7"),
        ("p.jsonl", "[", "line 1 is not JSON"),
        ("p.csv", "sent_id,mask\n1,[2", "cannot be read as CSV"),
        ("p.parquet", "PAR1", "is not a readable Parquet file"),
        *(
            (
                "p.json",
                f'[{{"sent_id": 1, "mask": "a", "score": {score}}}]',
                f"score is {said}, not a number in 0…1",
            )
            for score, said in (
                ("97", "97"),
                ("NaN", "nan"),
                ("-Infinity", "-inf"),
                ("1e999", "inf"),
                ('"high"', "'high'"),
                ("[1]", "a list"),
                ("9" * 400, "a very large number"),
            )
        ),
    ],
)
def test_bad_records(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        read(tmp_path, name, content)
    assert said in str(raised.value)
