"""What is needed to build a model again: the model's sections of params.yaml and BERT's own."""

from typing import Any

from s2rm.config.params import Decoder, Fusion, Language, Params, Section, Vision


class ModelConfig(Section):
    vision: Vision
    language: Language
    fusion: Fusion
    decoder: Decoder
    bert: dict[str, Any]  # transformers' BertConfig

    @classmethod
    def from_params(cls, params: Params, bert: dict[str, Any]) -> "ModelConfig":
        return cls(
            vision=params.vision,
            language=params.language,
            fusion=params.fusion,
            decoder=params.decoder,
            bert=bert,
        )
