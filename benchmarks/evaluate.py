"""One image with k expressions, beside its two encoders alone.

    python benchmarks/evaluate.py --params presets/paper.yaml --repeats 5 --json

Random weights, float32. `encoders`: the backbone once and BERT on the k expressions, nothing else. `model`:
what evaluation does with them, `encode_images`, `encode_expressions` and `segment`. And the time of each
part with one and with seven expressions.
"""

from collections.abc import Callable
from functools import partial

import torch
from made_up import Made, make_batch, make_model
from timing import machine, parser, show, time_interleaved

from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory
from s2rm.model.s2rm import S2RM

EXPRESSIONS = (1, 2, 4, 7, 12)


def encoders(model: S2RM, batch: Made) -> None:
    model.vision.backbone(batch.images)
    model.encode_expressions(batch.token_ids, batch.attention_mask)


def forward(model: S2RM, batch: Made) -> None:
    model(*batch.inputs)


def parts(model: S2RM, batch: Made) -> dict[str, Callable[[], object]]:
    """Part → a function that runs it alone."""
    maps = model.encode_images(batch.images)
    language = model.encode_expressions(batch.token_ids, batch.attention_mask)
    fused = [
        fuse(stage, language, batch.expression_to_image)
        for fuse, stage in zip(model.fusion, maps, strict=True)
    ]
    sentence = None if language is None else language.sentence

    def fuse_all() -> None:
        for fuse, stage in zip(model.fusion, maps, strict=True):
            fuse(stage, language, batch.expression_to_image)

    return {
        "vision": lambda: model.encode_images(batch.images),
        "language": lambda: model.encode_expressions(batch.token_ids, batch.attention_mask),
        "fusion": fuse_all,
        "decoder": lambda: model.decoder(fused, sentence),
    }


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--expressions", type=int, nargs="+", default=EXPRESSIONS)
    arguments = command.parse_args()
    params = load_params(arguments.params)
    keep_freed_memory()
    model = make_model(params).eval()
    works: dict[str, Callable[[], object]] = {}
    with torch.inference_mode():
        for k in arguments.expressions:
            batch = make_batch(params, 1, k)
            works[f"encoders, {k}"] = partial(encoders, model, batch)
            works[f"model, {k}"] = partial(forward, model, batch)
        for k in (1, 7):
            works |= {
                f"part {name}, {k}": work for name, work in parts(model, make_batch(params, 1, k)).items()
            }
        seconds = time_interleaved(works, arguments.repeats)
    result = {
        "params": arguments.params,
        "seconds": seconds,
        "ratios": {
            f"model / encoders, {k} expressions": seconds[f"model, {k}"]["median_s"]
            / seconds[f"encoders, {k}"]["median_s"]
            for k in arguments.expressions
        },
        "machine": machine(),
    }
    show(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
