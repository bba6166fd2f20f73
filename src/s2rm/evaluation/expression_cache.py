"""Every distinct expression of a table encoded once, before its images come.

People say the same of many images ("left", "the man on the right"), and a batch of an image's own
expressions is padded to its longest. Here equal expressions are one, and those that are batched
together have nearly the same length.
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
    """The language features of expressions, by the row of their table.

    They are kept without padding: at most 0.67 GB for RefCOCO's val split (10,834 expressions of 20 tokens).
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
            token_ids: of each row's expression.
            processor: the one that made `token_ids`.
            device: where the features are kept.
        """
        distinct = sorted({tuple(ids) for ids in token_ids}, key=lambda ids: (len(ids), ids))
        place = {ids: number for number, ids in enumerate(distinct)}
        self.place = np.array([place[tuple(ids)] for ids in token_ids], dtype=np.int64)
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
        """Return the features of these rows, padded to the longest of them."""
        places = self.place[list(rows)].tolist()
        words = torch.nn.utils.rnn.pad_sequence([self._words[place] for place in places], batch_first=True)
        lengths = torch.tensor([len(self._words[place]) for place in places], device=words.device)
        return LanguageFeatures(
            words=words,
            word_mask=torch.arange(words.shape[1], device=words.device) < lengths[:, None],
            sentence=self._sentences[places],
        )
