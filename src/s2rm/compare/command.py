"""`s2rm compare`: print a table, and write a page with pictures."""

import argparse
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from s2rm.compare.paired import Paired, compare, compare_means
from s2rm.compare.pictures import draw_differences
from s2rm.compare.sources import Source, load_group
from s2rm.config.benchmarks import name_benchmark
from s2rm.config.load import load_params
from s2rm.core.errors import UserError
from s2rm.core.files import load_json, replace_text
from s2rm.core.project import PREPARED, RAW
from s2rm.scoring.intervals import Interval

SIZES = {"model": "at the model's input size", "original": "at the images' own size"}


def run(arguments: argparse.Namespace) -> None:
    """Compare two models and print the result."""
    root = Path.cwd()
    experiment = _experiment(root)
    with TemporaryDirectory() as folder:
        first, second = (
            load_group(names, root, Path(folder), experiment) for names in (arguments.first, arguments.second)
        )
    if not first or not second:
        raise UserError("a model is missing: name two, as `s2rm compare results/a results/b`")
    paired = compare(first, second, arguments.size)
    mean = compare_means(paired, first, arguments.size)
    if arguments.json:
        print(json.dumps(_as_json(paired, mean, arguments), indent=2))
    else:
        _print(paired, mean, first, second, arguments)
    if arguments.output is not None:
        _write_page(paired, mean, first, second, arguments)


def title_of(benchmark: str, split: str) -> str:
    """Name a split for people; drawn data are called so."""
    path = PREPARED / f"{benchmark}.json"
    origin = load_json(path).get("origin", {}) if path.is_file() else {}
    return f"{name_benchmark(benchmark, origin.get('source', 'folder'))} {split}"


def _experiment(root: Path) -> str:
    try:
        return load_params(root / "params.yaml").tracking.experiment
    except UserError:
        return "s2rm"


def _print(
    paired: list[Paired],
    mean: Interval,
    first: list[Source],
    second: list[Source],
    arguments: argparse.Namespace,
) -> None:
    print(f"A: {_name(first)}\nB: {_name(second)}")
    print(f"mIoU and oIoU in percent, {SIZES[arguments.size]}; A − B with 95 % intervals over images")
    width = max(len(title_of(*each.key)) for each in paired)
    print(f"\n{'':<{width}}  {'n':>7} {'mIoU A':>7} {'B':>6}  {'A − B':<22} {'oIoU A':>7} {'B':>6}  A − B")
    for each in paired:
        miou, oiou = (f"{a:>7.2f} {b:>6.2f}" for a, b in (each.miou, each.oiou))
        print(
            f"{title_of(*each.key):<{width}}  {each.expressions:>7} {miou}  "
            f"{_show(each.miou_difference):<22} {oiou}  "
            f"{_show(each.oiou_difference)}"
        )
    if len(paired) > 1:
        print(f"{'mean of the splits':<{width}}  {'':>7} {'':>7} {'':>6}  {_show(mean)}")
    seeds = [each for each in paired if not math.isnan(each.seeds_difference.low)]
    if seeds:
        print(f"\nmIoU, intervals over {len(first)} and {len(second)} trainings (Welch)")
        for each in seeds:
            print(f"{title_of(*each.key):<{width}}  {_show(each.seeds_difference)}")
    print("\nexpressions found (IoU ≥ 0.5), of the first trainings; p: McNemar, adjusted by Holm")
    print(f"{'':<{width}}  {'both':>7} {'A only':>7} {'B only':>7} {'none':>7}  p")
    for each in paired:
        counts = " ".join(f"{count:>7}" for count in each.table)
        print(f"{title_of(*each.key):<{width}}  {counts}  {each.p_value:.2g}")


def _show(interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"{interval.value:+.2f}"
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def _name(group: list[Source]) -> str:
    return ", ".join(each.name for each in group)


def _as_json(paired: list[Paired], mean: Interval, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "size": arguments.size,
        "first": arguments.first,
        "second": arguments.second,
        "mean": _plain(mean),
        "splits": [
            {
                "benchmark": each.key[0],
                "split": each.key[1],
                "expressions": each.expressions,
                "mIoU": each.miou,
                "oIoU": each.oiou,
                "mIoU_difference": _plain(each.miou_difference),
                "oIoU_difference": _plain(each.oiou_difference),
                "seeds_difference": _plain(each.seeds_difference),
                "both_first_second_none": each.table,
                "p_value": each.p_value,
            }
            for each in paired
        ],
    }


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in vars(interval).items()}


def _write_page(
    paired: list[Paired],
    mean: Interval,
    first: list[Source],
    second: list[Source],
    arguments: argparse.Namespace,
) -> None:
    titles = {each.key: title_of(*each.key) for each in paired}
    pictures = draw_differences(paired, first[0], second[0], titles=titles, prepared=PREPARED, raw=RAW)
    environment = Environment(
        loader=PackageLoader("s2rm.compare", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["show"] = _show
    html = environment.get_template("compare.html.j2").render(
        first=_name(first),
        second=_name(second),
        size=SIZES[arguments.size],
        rows=[(titles[each.key], each) for each in paired],
        mean=mean,
        trainings=(len(first), len(second)),
        pictures=pictures,
    )
    replace_text(arguments.output, html)
    print(f"\n{arguments.output}")
