"""AdamW with the encoders at their own rate, a linear warm-up and a polynomial decay."""

from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from s2rm.config.params import Train
from s2rm.model.s2rm import S2RM


def build_optimiser(model: S2RM, train: Train) -> AdamW:
    """Norms, biases and scalars take no weight decay, as in the peers' recipes."""
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
    """The factor on each group's rate at every optimiser step, of `steps` in all."""
    warmup = max(1, round(train.warmup * steps))

    def factor(step: int) -> float:
        return min((step + 1) / warmup, max(0.0, 1 - step / steps) ** train.power)

    return LambdaLR(optimiser, factor)
