"""Names of images that are the same in all benchmarks, so that a shared image is drawn once."""

import pandas as pd

from s2rm.config.benchmarks import get_benchmark


def name_images(benchmark: str, image_ids: pd.Series) -> list[tuple[str, int]]:
    """Name the image of each expression: RefCOCO and RefCOCO+ share theirs, ReferIt has its own.

    Args:
        benchmark: of the expressions.
        image_ids: one for each expression.
    """
    collection = get_benchmark(benchmark).images
    return [(collection, int(image)) for image in image_ids]
