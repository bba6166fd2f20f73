"""A BERT whose files lie in the store of encoders as if placed by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tiny_encoders import BERT
from transformers import PreTrainedTokenizerBase

from s2rm.acquire.hub.fetch_encoders import fetch_weights
from s2rm.acquire.hub.weights import find_weights
from s2rm.config.params import Params
from s2rm.data.tokenizer import build_tokenizer
from s2rm.model.create import create_for_training
from s2rm.model.s2rm import S2RM

COMMIT = "0" * 40
EXPRESSIONS = ("the red circle", "the blue circle on the left", "a circle")


@dataclass
class HandStore:
    """A folder of encoders placed by hand."""

    root: Path
    params: Params

    @property
    def folder(self) -> Path:
        return self.root / "store" / BERT / COMMIT

    def place(self, files: dict[str, bytes]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self.folder / name).write_bytes(content)

    def fetch(self) -> None:
        """The stage `weights`."""
        fetch_weights(
            self.params.vision,
            self.params.language,
            self.root / "weights",
            store=self.root / "store",
            revisions={BERT: COMMIT},
            pin=lambda *_: None,
            offline=True,
        )

    def start(self, expressions: Sequence[str] = EXPRESSIONS) -> tuple[S2RM, PreTrainedTokenizerBase]:
        """The start of a training."""
        params = self.params
        found = find_weights(self.root / "weights", params.vision, params.language)
        tokenizer = build_tokenizer(expressions, params.language, found.language)
        return create_for_training(params, tokenizer, language_weights=found.language), tokenizer
