"""Time of evaluating one image with k expressions, compared with its two encoders alone.

    python benchmarks/evaluate.py --params presets/paper.yaml --repeats 5 --json

Random weights, float32. `encoders` runs the backbone once and BERT on the k expressions, nothing else.
`model` is what evaluation does with them: `encode_images`, `encode_expressions` and `segment`. Each part is
also timed alone, with one and with seven expressions.
"""

from collections.abc import Callable
from functools import partial

import torch
from random_inputs import RandomBatch, make_batch, make_model
from timing import build_parser, describe_machine, print_result, time_interleaved

from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory
from s2rm.model.s2rm import S2RM

EXPRESSIONS = (1, 2, 4, 7, 12)
PARTS_WITH = (1, 7)  # expressions, where each part is timed alone


def run_encoders(model: S2RM, batch: RandomBatch) -> None:
    """Run the backbone and BERT."""
    model.vision.backbone(batch.images)
    model.encode_expressions(batch.token_ids, batch.attention_mask)


def run_model(model: S2RM, batch: RandomBatch) -> None:
    """Run the whole model."""
    model(*batch.inputs)


def split_into_parts(model: S2RM, batch: RandomBatch) -> dict[str, Callable[[], object]]:
    """Return for each part of the model a function that runs this part alone."""
    maps = model.encode_images(batch.images)
    language = model.encode_expressions(batch.token_ids, batch.attention_mask)

    def fuse() -> list[torch.Tensor]:
        return [
            fusion(stage, language, batch.expression_to_image)
            for fusion, stage in zip(model.fusion, maps, strict=True)
        ]

    fused = fuse()
    sentence = None if language is None else language.sentence
    return {
        "vision": lambda: model.encode_images(batch.images),
        "language": lambda: model.encode_expressions(batch.token_ids, batch.attention_mask),
        "fusion": fuse,
        "decoder": lambda: model.decoder(fused, sentence),
    }


def main() -> None:
    """Print the times, and the ratios of the model to the encoders."""
    parser = build_parser(__doc__)
    parser.add_argument(
        "--expressions", type=int, nargs="+", default=EXPRESSIONS, help="values of k (default: %(default)s)"
    )
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    keep_freed_memory()
    model = make_model(params).eval()
    works: dict[str, Callable[[], object]] = {}
    with torch.inference_mode():
        for k in arguments.expressions:
            batch = make_batch(params, [k])
            works[f"encoders, {k}"] = partial(run_encoders, model, batch)
            works[f"model, {k}"] = partial(run_model, model, batch)
        for k in PARTS_WITH:
            parts = split_into_parts(model, make_batch(params, [k]))
            works |= {f"part {name}, {k}": work for name, work in parts.items()}
        seconds = time_interleaved(works, arguments.repeats)
    result = {
        "params": arguments.params,
        "seconds": seconds,
        "ratios": {
            f"model / encoders, {k} expressions": seconds[f"model, {k}"]["median_s"]
            / seconds[f"encoders, {k}"]["median_s"]
            for k in arguments.expressions
        },
        "machine": describe_machine(),
    }
    print_result(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
