"""Build the optimiser and its schedule: AdamW, a linear warm-up and a polynomial decay."""

from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from s2rm.config.params import Train
from s2rm.model.s2rm import S2RM


def build_optimiser(model: S2RM, train: Train) -> AdamW:
    """Build AdamW with a learning rate of their own for the encoders.

    Norms, biases and scalars have no weight decay, as in the peers' recipes.
    """
    encoders = [model.vision.backbone] + ([model.language.bert] if model.language else [])
    encoder_parameters = {id(p) for encoder in encoders for p in encoder.parameters()}
    groups = []
    for in_encoder, rate in ((True, train.learning_rate * train.encoder_rate), (False, train.learning_rate)):
        for decays in (True, False):
            chosen = [
                p
                for p in model.parameters()
                if (id(p) in encoder_parameters) is in_encoder and (p.ndim > 1) is decays
            ]
            if chosen:
                decay = train.weight_decay if decays else 0.0
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return AdamW(groups, betas=(0.9, 0.98), fused=True)


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
