"""Time of the model: encoders alone, one image with k expressions, a training step.

    python benchmarks/model.py --json
    python benchmarks/model.py --params presets/paper.yaml --repeats 3

Random weights; ratios are to the two encoders alone, from the same rounds.
"""

import torch
from timing import machine, parser, show, time_interleaved

from s2rm.describe import build_untrained
from s2rm.params import load_params
from s2rm.training.loss import segmentation_loss


def main() -> None:
    arguments = parser(__doc__).parse_args()
    params = load_params(arguments.params)
    torch.manual_seed(0)
    model = build_untrained(params).to(memory_format=torch.channels_last)
    size, tokens = params.vision.image_size, params.language.tokens

    def batch(images: int, expressions: int) -> tuple[torch.Tensor, ...]:
        ids = torch.randint(5, params.language.vocabulary, (images * expressions, tokens))
        index = torch.arange(images).repeat_interleave(expressions)
        return torch.randn(images, 3, size, size), ids, torch.ones_like(ids), index

    def encoders(images: int, expressions: int) -> None:
        pixels, ids, mask, _ = batch(images, expressions)
        model.vision.backbone(pixels.contiguous(memory_format=torch.channels_last))
        if model.language is not None:
            model.language(ids, mask)

    def forward(images: int, expressions: int) -> None:
        model(*batch(images, expressions))

    def step() -> None:
        *inputs, index = batch(2, 3)
        masks = model(*inputs, index)
        truth = torch.rand(len(index), 1, size, size) > 0.9
        segmentation_loss(masks, truth, params.loss)["loss"].backward()
        model.zero_grad()

    model.eval()
    with torch.inference_mode():
        seconds = time_interleaved(
            {
                "encoders, 1 image, 1 expression": lambda: encoders(1, 1),
                "model, 1 image, 1 expression": lambda: forward(1, 1),
                "encoders, 1 image, 7 expressions": lambda: encoders(1, 7),
                "model, 1 image, 7 expressions": lambda: forward(1, 7),
            },
            arguments.repeats,
        )
    model.train()
    seconds |= time_interleaved({"forward + backward, 2 × 3": step}, arguments.repeats)

    def ratio(expressions: str) -> float:
        pair = (seconds[f"{what}, 1 image, {expressions}"]["median_s"] for what in ("model", "encoders"))
        whole, alone = pair
        return whole / alone

    result = {
        "params": arguments.params,
        "seconds": seconds,
        "ratios": {f"model / encoders, {k}": ratio(k) for k in ("1 expression", "7 expressions")},
        "machine": machine(),
    }
    show(result, arguments.json)


if __name__ == "__main__":
    main()
