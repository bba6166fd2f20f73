"""Time of reading prepared data: opening a table, and the samples of one process.

    python benchmarks/loader.py --json

Needs prepared data (`dvc repro preprocess`).
"""

from pathlib import Path

from timing import machine, parser, show, time_interleaved

from s2rm.data.grouping import GroupedBatches, group_by_image
from s2rm.data.samples import ExpressionDataset
from s2rm.data.table import load_table
from s2rm.data.tokens import build_tokenizer
from s2rm.errors import exit_on_user_error
from s2rm.params import load_params

PREPARED, RAW = Path("data/prepared"), Path("data/raw")
BATCHES = 20


def main() -> None:
    arguments = parser(__doc__).parse_args()
    params = load_params(arguments.params)
    path = PREPARED / f"{params.data.benchmarks[0]}.parquet"
    table = load_table(path)
    dataset = ExpressionDataset(
        table,
        RAW,
        build_tokenizer(table["expression"], params.language),
        image_size=params.vision.image_size,
        tokens=params.language.tokens,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    batches = GroupedBatches(
        group_by_image(dataset.image_path),
        expressions=params.train.expressions_per_batch,
        expressions_per_image=params.train.expressions_per_image,
        seed=0,
    )

    def read() -> None:
        for _, groups in zip(range(BATCHES), batches, strict=False):
            dataset.collate([dataset[rows] for rows in groups])

    seconds = time_interleaved(
        {"open the table": lambda: load_table(path), "read the batches": read}, arguments.repeats
    )
    expressions = BATCHES * params.train.expressions_per_batch
    show(
        {
            "seconds": seconds,
            "expressions": len(table),
            "expressions_per_second": expressions / seconds["read the batches"]["median_s"],
            "machine": machine(),
        },
        arguments.json,
    )


if __name__ == "__main__":
    exit_on_user_error(main)
