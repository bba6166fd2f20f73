"""Encode every distinct expression of a table once, before its images.

People say the same about many images ("left", "the man on the right"), and a batch of one image's
expressions is padded to the longest of them. Here equal expressions are encoded once, in batches of nearly
equal length.

Shapes: N expressions, T words, D the width of the text features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from s2rm.data.processor import Processor
from s2rm.model.fusion.s2rm_fusion import LanguageFeatures
from s2rm.model.s2rm import S2RM

BATCH = 64  # expressions


class EncodedExpressions:
    """Holds the language features of every row of a table.

    They are stored without padding: at most 0.67 GB for RefCOCO's val split (10,834 expressions, 20 tokens).
    """

    def __init__(
        self,
        model: S2RM,
        token_ids: Sequence[Sequence[int]],
        processor: Processor,
        device: torch.device,
    ) -> None:
        """Encode every distinct expression.

        Args:
            model: in evaluation mode, with a language encoder.
            token_ids: those of the expression of each row.
            processor: the one that made `token_ids`.
            device: that of the model; the features stay there.
        """
        distinct = sorted({tuple(ids) for ids in token_ids}, key=lambda ids: (len(ids), ids))
        number_of = {ids: number for number, ids in enumerate(distinct)}
        self._number = np.array([number_of[tuple(ids)] for ids in token_ids], dtype=np.int64)  # by row
        self._words: list[Tensor] = []
        sentences = []
        for first in range(0, len(distinct), BATCH):
            ids, mask = processor.pad(distinct[first : first + BATCH])
            features = model.encode_expressions(ids.to(device), mask.to(device))
            assert features is not None
            for words, length in zip(features.words, mask.sum(1).tolist(), strict=True):
                self._words.append(words[:length].clone())
            sentences.append(features.sentence)
        self._sentences = torch.cat(sentences)

    def __call__(self, rows: Sequence[int]) -> LanguageFeatures:
        """Return the features of N rows, padded to the longest of them.

        Returns:
            words (N, T, D), word_mask (N, T), sentence (N, D).
        """
        numbers = self._number[list(rows)].tolist()
        words = torch.nn.utils.rnn.pad_sequence([self._words[each] for each in numbers], batch_first=True)
        lengths = torch.tensor([len(self._words[each]) for each in numbers], device=words.device)
        return LanguageFeatures(
            words=words,
            word_mask=torch.arange(words.shape[1], device=words.device) < lengths[:, None],
            sentence=self._sentences[numbers],
        )
