"""Build the table of the balancing weights: how much a model uses each of its parsed semantics."""

from collections.abc import Collection

import pandas as pd

from s2rm.config.benchmarks import Source, name_benchmark
from s2rm.model.fusion.sweeps import ROLES, name_sweep
from s2rm.reporting.tables.own_tables import DRAWN
from s2rm.reporting.tables.table_writers import Table


def build_balancing(
    weights: dict[str, pd.DataFrame], source: Source, incomplete: Collection[str] = (), *, decimals: int
) -> Table:
    """Build the table: one row per run, benchmark and stage, one column per parsed semantic.

    Args:
        weights: run → a table of `s2rm.evaluation.inspect.BALANCING_COLUMNS`; at least one has rows.
        source: where the data come from.
        incomplete: benchmarks whose data are only a part.
        decimals: of the percentages.
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
        caption="The weight of each parsed semantic in percent, the mean over channels and expressions; each "
        f"row sums to 100. Data: {data}, split val, at most the first 200 images. Stage 1 is the finest.",
        frame=frame,
        sources=tuple(f"this project, {group}" for group in groups),
        footnotes=(
            f"Equal weights would be {100 / count:.{decimals}f}. Weights multiply parsed semantics of "
            "different magnitudes: they say how the model mixes these, not how much each of them matters.",
            "Each column is one sweep over the image: its role, what it reads, and in which direction.",
            *([DRAWN] if source == "refshapes" else []),
        ),
        decimals=decimals,
    )
