"""The table of the balancing weights: how much a model leans on each of its parsed semantics."""

from collections.abc import Collection

import pandas as pd

from s2rm.config.benchmarks import Source, name_benchmark
from s2rm.model.fusion.sweeps import ROLES, name_sweep
from s2rm.reporting.own_tables import DRAWN
from s2rm.reporting.table_writers import Table


def build_balancing(
    weights: dict[str, pd.DataFrame], source: Source, incomplete: Collection[str] = (), *, decimals: int
) -> Table:
    """Build the table of the weights by run, benchmark and stage, with one column per parsed semantic.

    Args:
        weights: by run, `s2rm.evaluation.inspect.BALANCING_COLUMNS`; at least one run has rows.
        source: of the data.
        incomplete: benchmarks of which the data are only a part.
        decimals: of the numbers.
    """
    by_run = pd.concat([frame.assign(run=run) for run, frame in weights.items()], ignore_index=True)
    rows: list[dict[tuple[str, str], object]] = []
    groups = []
    keys = ["run", "benchmark", "stage"]
    for (run, benchmark, stage), semantics in by_run.groupby(keys, sort=False):
        first = semantics.iloc[0]
        row: dict[tuple[str, str], object] = {
            ("", "data"): name_benchmark(str(benchmark), source, incomplete),
            ("", "stage"): stage,
            ("", "images"): first["images"],
            ("", "expressions"): first["expressions"],
        }
        for semantic in semantics.to_dict("records"):
            heading = (ROLES[semantic["role"]], name_sweep(semantic["rotation"]))
            row[heading] = 100 * semantic["weight"]
        rows.append(row)
        groups.append(f"run {run}")
    count = len(rows[0]) - 4
    data = "RefShapes" if source == "refshapes" else "the real benchmarks"
    frame = pd.DataFrame(rows, index=groups)
    frame.columns = pd.MultiIndex.from_tuples(rows[0])
    return Table(
        name="refshapes-balancing" if source == "refshapes" else "balancing",
        title=f"Balancing weights on {data}",
        caption="The mean weight of each parsed semantic in percent, over channels and expressions; a row "
        f"sums to 100. Data: {data}, val, the first images, at most 200. Stage 1 is the finest.",
        frame=frame,
        sources=tuple(f"this project, {group}" for group in groups),
        footnotes=(
            f"Equal weights would be {100 / count:.{decimals}f}. A weight is a share of the sum of parsed "
            "semantics, whose sizes differ: it says how the model mixes them, not what each is worth.",
            "A column is a sweep over the image: the role, and what is swept in which sense.",
            *([DRAWN] if source == "refshapes" else []),
        ),
        decimals=decimals,
    )
