"""Scores by several processes: each takes some of the images, and every expression is scored exactly once."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase

from s2rm.evaluation.scores import score_expressions
from s2rm.model.s2rm import S2RM


def score_together(
    model: S2RM,
    tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    raw: Path,
    *,
    device: torch.device,
    title: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """As `score_expressions`; every process gets the scores of all.

    An image and its expressions stay together.
    """
    state = PartialState(cpu=device.type == "cpu")
    if state.num_processes == 1:
        return score_expressions(model, tokenizer, table, raw, device=device, title=title, **options)
    number_of_image = pd.factorize(table["image_path"])[0]
    rows = np.flatnonzero(number_of_image % state.num_processes == state.process_index)
    scores = None
    if len(rows):
        shown = title if state.is_main_process else None
        scores = score_expressions(
            model, tokenizer, table.iloc[rows], raw, device=device, title=shown, **options
        )
    shares = [share for share in gather_object([(rows, scores)]) if len(share[0])]
    order = np.concatenate([rows for rows, _ in shares]).argsort()
    return pd.concat([scores for _, scores in shares], ignore_index=True).iloc[order].reset_index(drop=True)
