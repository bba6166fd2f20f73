"""Score with several processes: each takes some of the images, and every expression is scored once."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from s2rm.data.image_zip import ImageFiles
from s2rm.data.processor import Processor
from s2rm.evaluation.scores import Scores, score_expressions
from s2rm.model.s2rm import S2RM


def score_together(
    model: S2RM,
    processor: Processor,
    table: pd.DataFrame,
    images: ImageFiles,
    *,
    device: torch.device,
    title: str | None = None,
    **options: Any,
) -> Scores:
    """Score every expression of `table`, shared among all processes; an image is scored by one process.

    Args:
        model: on `device`.
        processor: the model's own.
        table: rows of prepared tables.
        images: the files that `image_path` names.
        device: that of this process.
        title: of the progress bar, which the main process shows; None shows none.
        options: further arguments of `score_expressions`.

    Returns:
        The scores of all expressions, in the order of `table`, in every process.

    Raises:
        UserError: an image cannot be read.
    """
    state = PartialState(cpu=device.type == "cpu")
    if state.num_processes == 1:
        return score_expressions(model, processor, table, images, device=device, title=title, **options)
    number_of_image = pd.factorize(table["image_path"])[0]
    rows = np.flatnonzero(number_of_image % state.num_processes == state.process_index)
    scores = None
    if len(rows):
        shown = title if state.is_main_process else None
        scores = score_expressions(
            model, processor, table.iloc[rows], images, device=device, title=shown, **options
        )
    return Scores.join([share for share in gather_object([(rows, scores)]) if len(share[0])])
