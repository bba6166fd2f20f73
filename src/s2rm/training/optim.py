"""Build the optimiser and its schedule: AdamW, a linear warm-up and a polynomial decay."""

import re

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from s2rm.config.params import Train
from s2rm.model.s2rm import S2RM

# Tables that are looked up, of words and of positions, by their names in transformers and timm.
TABLES = re.compile(r"embeddings\.|pos_embed|rel_pos|relative_position|cls_token")


def build_optimiser(model: S2RM, train: Train) -> AdamW:
    """Build AdamW over the parameters that are trained, with a learning rate of their own for each encoder.

    Norms, biases, scalars and the tables of words and positions have no weight decay, as in the peers'
    recipes (LAVT's and CARIS's code).
    """
    rates = {
        "vision.backbone.": train.learning_rate * train.vision_rate,
        "language.text_model.": train.learning_rate * train.language_rate,
        "": train.learning_rate,
    }
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {
        (part, decays): [] for part in rates for decays in (True, False)
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = next(part for part in rates if name.startswith(part))
            groups[part, parameter.ndim > 1 and not TABLES.search(name)].append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "lr": rates[part],
                "weight_decay": train.weight_decay if decays else 0.0,
            }
            for (part, decays), parameters in groups.items()
            if parameters
        ],
        betas=(0.9, 0.98),
        fused=True,
    )


def build_schedule(optimiser: AdamW, train: Train, steps: int) -> LambdaLR:
    """Build the schedule: a linear warm-up over a share of the steps, then a polynomial decay to 0.

    Args:
        optimiser: whose learning rates are scheduled; each group's rate is multiplied by the same factor.
        train: the section `train`.
        steps: optimiser steps of the whole training.
    """
    warmup = max(1, round(train.warmup * steps))

    def factor(step: int) -> float:
        return min((step + 1) / warmup, max(0.0, 1 - step / steps) ** train.power)

    return LambdaLR(optimiser, factor)
