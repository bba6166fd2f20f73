"""Encoders as the Hub has them, but random and small: the files that timm and transformers save."""

import json
import tempfile
from pathlib import Path
from string import ascii_lowercase

import timm
import torch
from safetensors.torch import save
from transformers import BertConfig, BertForPreTraining, BertTokenizer

BACKBONE, RESNET = "resnet10t.c3_in1k", "timm/resnet10t.c3_in1k"
BERT = "tests/tiny-bert"
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "a",
    "red",
    "blue",
    "circle",
    "left",
    "##s",
    "on",
    ",",
    *(f"{before}{letter}" for letter in ascii_lowercase for before in ("", "##") if letter not in "as"),
    *("##a", "s"),
]


def resnet_files(seed: int = 0) -> dict[str, bytes]:
    """The whole model with its classifier: 22 MB."""
    torch.manual_seed(seed)
    model = timm.create_model(BACKBONE, pretrained=False)
    config = json.dumps({"architecture": "resnet10t"}).encode()
    return {"model.safetensors": save(model.state_dict()), "config.json": config, "README.md": b"# resnet10t"}


def bert_files(seed: int = 0) -> dict[str, bytes]:
    """As google-bert/bert-base-uncased: with another head, LayerNorm's old names, and a pickle besides."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    weights = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): (
            torch.randn_like(tensor)
        )
        for name, tensor in BertForPreTraining(config).state_dict().items()
        if not name.startswith("cls.predictions.decoder.")  # tied to others
    }
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return files | {
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        "vocab.txt": "\n".join(WORDS).encode() + b"\n",
        "pytorch_model.bin": b"no pickle",
        "README.md": b"# BERT",
    }
