"""`s2rm score` on predictions of every form, against pycocotools."""

import contextlib
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools import mask as coco
from tiny_model import save
from transformers import PreTrainedTokenizerBase

from s2rm import cli
from s2rm.config.params import Evaluate
from s2rm.data.rle import decode
from s2rm.data.table import load_table
from s2rm.model.s2rm import S2RM
from s2rm.scoring.metrics import METRICS, segmentation_metrics

BENCHMARK, SPLIT, SIDE = "refcoco_unc", "val", 64


@pytest.fixture(scope="module")
def rows(tiny_data: Any) -> pd.DataFrame:
    table = load_table(tiny_data.prepared / f"{BENCHMARK}.parquet")
    return table[table["split"] == SPLIT].reset_index(drop=True)


@pytest.fixture(scope="module")
def predicted(rows: pd.DataFrame) -> list[np.ndarray]:
    """Shifted truths, some empty and some whole images."""
    found = []
    for number, row in enumerate(rows.itertuples()):
        mask = np.roll(decode(row.mask_rle, row.height, row.width), number % 7, axis=number % 2)
        found.append(np.zeros_like(mask) if number % 11 == 3 else ~mask if number % 13 == 5 else mask)
    return found


def rle(mask: np.ndarray) -> dict[str, Any]:
    found = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": found["counts"].decode()}


def reference(rows: pd.DataFrame, predicted: list[np.ndarray]) -> dict[str, float]:
    """Metrics at the image's size by pycocotools."""
    shared, union = [], []
    for row, mask in zip(rows.itertuples(), predicted, strict=True):
        truth = {"size": [row.height, row.width], "counts": row.mask_rle}
        given = rle(mask)
        both = coco.area(coco.merge([truth, given], intersect=True))
        shared.append(int(both))
        union.append(int(coco.area(truth) + coco.area(given) - both))
    return segmentation_metrics(shared, union)


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(tiny_data: Any, path: Path, *options: str, side: bool = True) -> Done:
    """Run the command in this process, where it starts faster; a warning would be a second line."""
    command = ["s2rm", "score", str(path), "--benchmark", BENCHMARK, "--split", SPLIT]
    command += ["--prepared", str(tiny_data.prepared), *(["--side", str(SIDE)] if side else []), *options]
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", command),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        try:
            cli.main()
        except SystemExit as ended:
            return Done(int(ended.code or 0), output.getvalue(), errors.getvalue())
    raise AssertionError


def scored(tiny_data: Any, path: Path, *options: str, side: bool = True) -> dict[str, Any]:
    done = run(tiny_data, path, "--json", *options, side=side)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout, parse_constant=pytest.fail))  # no NaN


def by_sentence(row: Any, mask: np.ndarray, folder: Path) -> dict[str, Any]:
    return {"sent_id": row.sent_id, "segmentation": rle(mask), "score": 0.5}


def runs_of(row: Any, mask: np.ndarray, folder: Path) -> dict[str, Any]:
    flat = mask.T.reshape(-1).astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *([0] if flat[0] else []), *edges, flat.size]).tolist()
    return {"sentence_id": str(row.sent_id), "rle": {"size": list(mask.shape), "counts": counts}}


def lavt_style(row: Any, mask: np.ndarray, folder: Path) -> dict[str, Any]:
    """By reference and sentence, masks as 0 and 255 in PNG files."""
    path = folder / f"{row.sent_id}.png"
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return {"ref_id": row.ref_id, "sent": f" {row.expression.upper()} ", "mask_path": path.name}


def lisa_style(row: Any, mask: np.ndarray, folder: Path) -> dict[str, Any]:
    """By image and text, probabilities as an array."""
    path = folder / f"{row.sent_id}.npy"
    np.save(path, np.where(mask, 0.8, 0.3).astype(np.float32)[None])
    return {
        "image": f"/data/coco/{Path(row.image_path).name}",
        "text": row.expression,
        "pred_mask": str(path),
    }


@pytest.mark.parametrize("style", [by_sentence, runs_of, lavt_style])
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_every_form_gives_the_reference(
    tiny_data: Any,
    rows: pd.DataFrame,
    predicted: list[np.ndarray],
    tmp_path: Path,
    style: Callable[..., dict[str, Any]],
    suffix: str,
) -> None:
    records = [style(row, mask, tmp_path) for row, mask in zip(rows.itertuples(), predicted, strict=True)]
    path = write(tmp_path / f"predictions{suffix}", records)
    found = scored(tiny_data, path, "--protocol", "original")
    metrics = {name: each["value"] for name, each in found["metrics"]["original"].items()}
    assert metrics == pytest.approx(reference(rows, predicted), abs=1e-4)
    assert found["counts"]["expressions"] == len(rows)
    assert all(each["low"] is None or each["low"] <= each["mIoU"] for each in found["slices"])
    assert sum(each["points"] for each in found["errors"].values()) == pytest.approx(
        100 - metrics["mIoU"], abs=1e-3
    )


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    plain = json.loads(json.dumps(records, default=int))
    if path.suffix == ".json":
        path.write_text(json.dumps(plain))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(each) for each in plain) + "\n")
    else:
        frame = pd.DataFrame(plain)
        for name in frame:
            frame[name] = [
                json.dumps(each) if isinstance(each, (dict, list)) else each for each in frame[name]
            ]
        frame.to_csv(path, index=False)
    return path


def test_one_text_for_two_referents_of_an_image(
    tiny_data: Any, rows: pd.DataFrame, predicted: list[np.ndarray], tmp_path: Path
) -> None:
    """By image and text a prediction counts for both, and two of them must be equal."""
    records = {
        (row.image_path, row.expression): lisa_style(row, mask, tmp_path)
        for row, mask in zip(rows.itertuples(), predicted, strict=True)
    }
    found = scored(tiny_data, write(tmp_path / "p.json", list(records.values())))
    assert found["counts"]["missing"] == 0


def test_the_own_evaluation_is_scored_to_the_last_digit(
    tiny_data: Any, build_tiny: Callable[..., S2RM], tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """By both protocols, though only the masks at the image's size are kept; not if --side is given."""
    from s2rm.evaluation.evaluate import evaluate_benchmarks

    settings = Evaluate(images_per_batch=4, threshold=0.8, precision="float32", workers=0, examples=0)
    metrics = evaluate_benchmarks(
        save(build_tiny(), tiny_tokenizer, tmp_path / "model"),
        [BENCHMARK],
        prepared=tiny_data.prepared,
        raw=tiny_data.raw,
        output=tmp_path / "results",
        params=settings,
    )
    path = tmp_path / "results" / f"{BENCHMARK}-{SPLIT}.parquet"
    found, again = (scored(tiny_data, path, side=side) for side in (False, True))
    assert "recorded" in found["masks"]["model"]
    assert again["masks"]["model"] == f"{SIDE} × {SIDE}"
    wanted = {name: {key: each[key] for key in METRICS} for name, each in metrics[BENCHMARK][SPLIT].items()}
    values = {name: {key: each[key]["value"] for key in METRICS} for name, each in found["metrics"].items()}
    assert values == wanted
    assert again["metrics"]["original"] == found["metrics"]["original"]
    assert again["metrics"]["model"] != found["metrics"]["model"]

    kept = json.loads(path.with_name(f"{BENCHMARK}-{SPLIT}-analysis.json").read_text())
    assert {key: found[key] for key in kept} == kept
    assert run(tiny_data, path, side=False).stdout.count("with the numbers that its evaluation recorded") == 1

    changed = pd.read_parquet(path)
    changed.loc[1, "union_original"] += 1
    changed.to_parquet(tmp_path / "changed.parquet")
    done = run(tiny_data, tmp_path / "changed.parquet", side=False)
    assert f"changed.parquet: record 2 (sent_id {changed['sent_id'][1]}): its intersection" in done.stderr


def test_what_is_written_is_a_file_of_predictions_again(
    tiny_data: Any, rows: pd.DataFrame, predicted: list[np.ndarray], tmp_path: Path
) -> None:
    """A table of scores is a file of predictions, and what is written is such a table again."""
    records = [
        by_sentence(row, mask, tmp_path) for row, mask in zip(rows.itertuples(), predicted, strict=True)
    ]
    first = scored(tiny_data, write(tmp_path / "p.json", records), "--output", str(tmp_path / "run"))
    again = scored(tiny_data, tmp_path / "run" / f"{BENCHMARK}-{SPLIT}.parquet")
    assert again["metrics"] == first["metrics"]
    table = pd.read_parquet(tmp_path / "run" / f"{BENCHMARK}-{SPLIT}.parquet")
    assert table["predicted_rle"].tolist() == [rle(mask)["counts"] for mask in predicted]
    kept = json.loads((tmp_path / "run" / f"{BENCHMARK}-{SPLIT}-analysis.json").read_text())
    assert kept == {key: value for key, value in first.items() if key not in ("benchmark", "split")}
    assert kept["calibration"]["ece"] is not None
    assert len(kept["calibration"]["bins"]) == 10
    assert kept["calibration"]["bins"][5]["expressions"] == len(rows)  # a score of 0.5 everywhere
    assert kept["calibration"]["bins"][4]["IoU"] is None


def test_square_masks_at_the_models_size(tiny_data: Any, rows: pd.DataFrame, tmp_path: Path) -> None:
    """Truths that are resized as LAVT resizes them are all right by the protocol `model`."""
    records = []
    for row in rows.itertuples():
        truth = Image.fromarray(decode(row.mask_rle, row.height, row.width))
        square = np.asarray(truth.resize((SIDE, SIDE), Image.Resampling.NEAREST))
        records.append({"sent_id": row.sent_id, "mask": rle(square)})
    found = scored(tiny_data, write(tmp_path / "p.json", records), "--protocol", "model")
    assert found["metrics"]["model"]["oIoU"]["value"] == 100
    cris = scored(tiny_data, tmp_path / "p.json", "--protocol", "cris")
    assert 50 < cris["metrics"]["cris"]["mIoU"]["value"] <= 100


def test_missing_ones_count_as_zero_where_that_is_asked_for(
    tiny_data: Any, rows: pd.DataFrame, predicted: list[np.ndarray], tmp_path: Path
) -> None:
    records = [
        by_sentence(row, mask, tmp_path) for row, mask in zip(rows.itertuples(), predicted, strict=True)
    ]
    path = write(tmp_path / "p.json", records[1:])
    refused = run(tiny_data, path)
    assert refused.returncode == 2
    assert f"1 of {len(rows)} expressions have no prediction, such as sent_id " in refused.stderr
    empty = [np.zeros_like(predicted[0]), *predicted[1:]]
    found = scored(tiny_data, path, "--missing", "zero")
    metrics = {name: each["value"] for name, each in found["metrics"]["original"].items()}
    assert metrics == pytest.approx(reference(rows, empty), abs=1e-4)


def test_predictions_of_other_splits_are_left_out_and_counted(
    tiny_data: Any, rows: pd.DataFrame, predicted: list[np.ndarray], tmp_path: Path
) -> None:
    table = load_table(tiny_data.prepared / f"{BENCHMARK}.parquet")
    other = table[table["split"] == "testA"].iloc[0]
    records = [
        by_sentence(row, mask, tmp_path) for row, mask in zip(rows.itertuples(), predicted, strict=True)
    ]
    records.append({"sent_id": int(other["sent_id"]), "segmentation": []})
    found = scored(tiny_data, write(tmp_path / "p.json", records))
    assert found["counts"]["for other splits"] == 1


def test_what_is_left_out_is_named(
    tiny_data: Any, rows: pd.DataFrame, predicted: list[np.ndarray], tmp_path: Path
) -> None:
    records = [
        by_sentence(row, mask, tmp_path) for row, mask in zip(rows.itertuples(), predicted, strict=True)
    ]
    unknown = [{"ref_id": 10**6 + number, "sent": "a\nb", "segmentation": []} for number in range(7)]
    path = write(tmp_path / "p.json", [*records, records[0], *unknown])
    options = ("--unmatched", "ignore", "--output", str(tmp_path / "run"))
    found = scored(tiny_data, path, *options)
    assert (found["counts"]["duplicates"], found["counts"]["unmatched"]) == (1, 7)
    first = {"record": f"p.json: record {len(rows) + 2}", "names": "ref_id 1000000, 'a\\nb'"}
    assert (len(found["unmatched"]), found["unmatched"][0]) == (7, first)
    kept = json.loads((tmp_path / "run" / f"{BENCHMARK}-{SPLIT}-analysis.json").read_text())
    assert kept["unmatched"] == found["unmatched"]
    shown = run(tiny_data, path, *options).stdout
    assert "1 duplicates" in shown
    assert "left out, since they name no expression of refcoco_unc: p.json: record" in shown
    assert "(ref_id 1000004, 'a\\nb'); and 2 more" in shown


def test_a_table_for_people(
    tiny_data: Any, rows: pd.DataFrame, predicted: list[np.ndarray], tmp_path: Path
) -> None:
    records = [
        by_sentence(row, mask, tmp_path) for row, mask in zip(rows.itertuples(), predicted, strict=True)
    ]
    done = run(tiny_data, write(tmp_path / "p.json", records), "--protocol", "lisa")
    assert done.returncode == 0, done.stderr
    for part in (
        "cIoU there",
        "points of mIoU lost to",
        "kind of words",
        "95 %",
        "RefShapes (as RefCOCO) val",
        "the score as an estimate of IoU: ",
    ):
        assert part in done.stdout, part


def broken(content: Any, name: str = "p.json") -> Callable[[Path, Any], Path]:
    def make(folder: Path, row: Any) -> Path:
        found = content(row) if callable(content) else content
        path = folder / name
        path.write_bytes(found if isinstance(found, bytes) else json.dumps(found, default=int).encode())
        return path

    return make


def one(row: Any, **changes: Any) -> list[dict[str, Any]]:
    return [{"sent_id": row.sent_id, **changes}]


BAD: dict[str, tuple[Any, str]] = {
    "no file": (lambda folder, row: folder / "nothing.json", "does not exist"),
    "a pickle": (lambda folder, row: folder / "p.pkl", "predictions are read from .json"),
    "empty": (broken(b""), "is not JSON"),
    "cut": (broken(b'[{"sent_id": 1'), "is not JSON"),
    "not text": (broken(b"\xff\xfe\x00["), "is not text in UTF-8"),
    "a number": (broken(7), "holds no list of predictions"),
    "numbers": (broken([1, 2]), "record 1 is not an object"),
    "no mask": (broken(lambda row: one(row)), "record 1 gives no mask"),
    "no expression": (broken([{"mask": "a.png"}]), "record 1 names no expression"),
    "a text for an id": (broken([{"sent_id": "first", "mask": "a.png"}]), "sent_id is 'first', not a whole"),
    "an unknown sentence": (
        broken([{"sent_id": 10**9, "mask": "a.png"}]),
        "name no expression of refcoco_unc",
    ),
    "an unknown text": (
        broken([{"image": "x.jpg", "text": "nobody", "mask": "a.png"}]),
        "x.jpg, 'nobody'",
    ),
    "a line break in a name": (
        broken(lambda row: one(row, mask="\n\u2028\x1b.png")),
        r"\n\u2028\x1b.png does not exist",
    ),
    "another image": (broken(lambda row: one(row, image_id=10**6, mask=[])), "its image is '1000000', but"),
    "lists in lists": (broken(b"[" * 200_000), "are nested too deeply"),
    "lists in a line": (broken(b"[" * 200_000, "p.jsonl"), "are nested too deeply"),
    "lists in a cell": (broken(b"sent_id,mask\n1," + b"[" * 200_000, "p.csv"), "are nested too deeply"),
    "lists in a mask": (
        broken(lambda row: b'[{"sent_id": %d, "mask": %s}]' % (row.sent_id, b"[" * 900 + b"]" * 900)),
        "p.json: record 1 (sent_id ",
    ),
    "one sentence twice": (
        broken(lambda row: b'{"%d": "a.png", "%d": "b.png"}' % (row.sent_id, row.sent_id)),
        "are two predictions for sent_id",
    ),
    "no such picture": (broken(lambda row: one(row, mask="no.png")), "does not exist"),
    "another size": (
        broken(lambda row: one(row, mask={"size": [3, 5], "counts": [15]})),
        "the mask has 5 × 3 pixels, the image",
    ),
    "half a polygon": (broken(lambda row: one(row, mask=[[1, 2, 3]])), "the mask cannot be used"),
    "two answers": (
        broken(lambda row: one(row, mask=[]) + one(row, mask="a.png")),
        "are two predictions for sent_id",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_give_one_line(tiny_data: Any, rows: pd.DataFrame, tmp_path: Path, case: str) -> None:
    make, said = BAD[case]
    path = make(tmp_path, next(rows.itertuples()))
    if path.suffix == ".pkl":
        path.touch()
    done = run(tiny_data, path, "--missing", "zero")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threshold", "2"], "--threshold is 2.0: it must be between 0 and 1"),
        (["--protocol", "coco"], "--protocol is coco: it must be both, model, original, lavt, cris, lisa"),
        (["--split", "testX"], "--split is testX: refcoco_unc has train, val"),
        (["--side", "0"], "--side is 0: it must be between 1 and 8192"),
        (["--benchmark", "refcoco"], "--benchmark: unknown benchmark 'refcoco'"),
        (["--benchmark", "refcoco"], "did you mean refcoco_unc"),
        (["--output", "{}/p.json"], "p.json is not a folder"),
        (["--output", "{}"], "contains the predictions"),
        (["--output", "{}/../"], "contains the predictions"),
    ],
)
def test_bad_options_give_one_line(tiny_data: Any, tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "p.json").write_text("not read: the options come first")
    done = run(tiny_data, tmp_path / "p.json", *[each.format(tmp_path) for each in options])
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_loads_no_torch() -> None:
    heavy = "{'torch', 'transformers', 'mlflow'}"
    code = f"import sys, s2rm.scoring.score_command; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
