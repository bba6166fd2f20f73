"""`s2rm compare`: print a table, and write a page with pictures."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import PackageLoader

from s2rm.compare.paired import Comparison, Paired, compare
from s2rm.compare.pictures import draw_differences
from s2rm.compare.sources import Source, SplitKey, load_group
from s2rm.config.load import load_params
from s2rm.core.errors import UserError
from s2rm.core.files import replace_text
from s2rm.core.project import PREPARED, RAW, find_root, require_writable
from s2rm.data.table import name_data
from s2rm.reporting.pages.templating import environment
from s2rm.scoring.intervals import Interval

SIZES = {"model": "at the model's input size", "original": "at the images' own size"}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def run(arguments: argparse.Namespace) -> None:
    """Compare the first model with each of the others, and print the result."""
    if not 1 < len(arguments.models) <= len(LETTERS):
        raise UserError("name two models or more, as `s2rm compare results/a results/b`")
    _check_output(arguments.output)
    root = find_root(Path.cwd()) or Path.cwd()
    experiment = _experiment(root)
    with TemporaryDirectory() as folder:
        groups = [load_group(names, root, Path(folder), experiment) for names in arguments.models]
    if not all(groups):
        raise UserError("a model is missing: name each, as `s2rm compare results/a results/b`")
    comparisons = dict(zip(LETTERS[1:], compare(groups, arguments.size), strict=False))
    if arguments.json:
        found = [_as_json(each) for each in comparisons.values()]
        print(json.dumps({"size": arguments.size, "comparisons": found}, indent=2))
    else:
        for letter, group in zip(LETTERS, groups, strict=False):
            print(f"{letter}: {_name(group)}")
        print(
            f"mIoU and oIoU in percent, {SIZES[arguments.size]}; differences with 95 % intervals over images"
        )
        for letter, each in comparisons.items():
            _print(each, letter)
    if arguments.output is not None:
        _write_page(comparisons, arguments)
        print(arguments.output, file=sys.stderr if arguments.json else sys.stdout)


def _check_output(output: Path | None) -> None:
    if output is None:
        return
    if output.is_dir():
        raise UserError(f"--output is {output}, a folder: name a file, as {output / 'compare.html'}")
    require_writable(output.parent)


def _experiment(root: Path) -> str:
    try:
        return load_params(root / "params.yaml").tracking.experiment
    except UserError:
        return "s2rm"


def _print(comparison: Comparison, letter: str) -> None:
    splits, seeds = comparison.splits, _find_seeds(comparison)
    titles = _name_splits(comparison)
    width = max(map(len, titles.values()))
    against, trainings = f"A − {letter}", f"{len(comparison.first)} and {len(comparison.second)} trainings"
    print(
        f"\n{'':<{width}}  {'n':>7} {'mIoU A':>7} {letter:>6}  {against:<22} "
        f"{'oIoU A':>7} {letter:>6}  {against}"
    )
    for each in splits:
        miou, oiou = (f"{a:>7.2f} {b:>6.2f}" for a, b in (each.miou, each.oiou))
        print(
            f"{titles[each.key]:<{width}}  {each.expressions:>7} {miou}  "
            f"{_show(each.miou_difference):<22} {oiou}  {_show(each.oiou_difference)}"
        )
    if len(splits) > 1:
        print(f"{'mean of the splits':<{width}}  {'':>7} {'':>7} {'':>6}  {_show(comparison.mean)}")
    if seeds:
        print(f"\nmIoU, {against}, intervals over {trainings} (Welch)")
        for each in seeds:
            print(f"{titles[each.key]:<{width}}  {_show(each.seeds_difference)}")
    print("\nexpressions found (IoU ≥ 0.5), of the first trainings; p: sign flips by image, adjusted by Holm")
    print(f"{'':<{width}}  {'both':>7} {'A only':>7} {letter + ' only':>7} {'none':>7}  p")
    for each in splits:
        counts = " ".join(f"{count:>7}" for count in each.table)
        print(f"{titles[each.key]:<{width}}  {counts}  {each.p_value:.2g}")


def _name_splits(comparison: Comparison) -> dict[SplitKey, str]:
    return {each.key: f"{name_data(PREPARED, each.key[0])} {each.key[1]}" for each in comparison.splits}


def _find_seeds(comparison: Comparison) -> list[Paired]:
    """Return the splits with an interval over seeds."""
    return [each for each in comparison.splits if not math.isnan(each.seeds_difference.low)]


def _show(interval: Interval) -> str:
    span = "" if math.isnan(interval.low) else f" [{interval.low:+.2f}, {interval.high:+.2f}]"
    return f"{interval.value:+.2f}{span}".replace("-", "−")


def _name(group: Sequence[Source]) -> str:
    return ", ".join(each.name for each in group)


def _as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "first": [each.name for each in comparison.first],
        "second": [each.name for each in comparison.second],
        "mean": comparison.mean.to_json(),
        "splits": [
            {
                "benchmark": each.key[0],
                "split": each.key[1],
                "expressions": each.expressions,
                "mIoU": each.miou,
                "oIoU": each.oiou,
                "mIoU_difference": each.miou_difference.to_json(),
                "oIoU_difference": each.oiou_difference.to_json(),
                "seeds_difference": each.seeds_difference.to_json(),
                "both_first_second_none": each.table,
                "p_value": each.p_value,
            }
            for each in comparison.splits
        ],
    }


def _write_page(comparisons: dict[str, Comparison], arguments: argparse.Namespace) -> None:
    templates = environment(PackageLoader("s2rm.compare", "."))
    templates.filters["show"] = _show
    parts = []
    for letter, each in comparisons.items():
        titles = _name_splits(each)
        parts.append(
            {
                "letter": letter,
                "name": _name(each.second),
                "rows": [(titles[split.key], split) for split in each.splits],
                "mean": each.mean,
                "seeds": bool(_find_seeds(each)),
                "pictures": draw_differences(
                    each.splits, each.first[0], each.second[0], titles=titles, prepared=PREPARED, raw=RAW
                ),
            }
        )
    first = _name(next(iter(comparisons.values())).first)
    html = templates.get_template("compare.html.j2").render(
        first=first, size=SIZES[arguments.size], parts=parts
    )
    replace_text(arguments.output, html)
