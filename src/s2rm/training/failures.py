"""Turn the failures that a training meets into messages for the user."""

from contextlib import AbstractContextManager

from s2rm.config.params import Train
from s2rm.core.explained import Work, explained
from s2rm.training.checkpoint import Progress


def explain_failures(train: Train, progress: Progress) -> AbstractContextManager[None]:
    """Turn failures that the user can remove into a `UserError` of one line; see `explained`.

    Args:
        train: the section `train`, whose values the messages name.
        progress: of the training; the messages name its step.
    """
    smaller = (
        f"lower train.expressions_per_batch ({train.expressions_per_batch}) and raise train.accumulation "
        f"({train.accumulation}) by the same factor: the training then starts over"
    )
    if train.activation_checkpointing != "all":
        smaller = (
            "set train.activation_checkpointing=all: the training continues from the last saved state; or "
            + smaller
        )
    work = Work(
        moment=lambda: f"after step {progress.step}",
        workers=train.workers,
        workers_key="train.workers",
        memory=smaller,
        then="the same command continues from the last saved state",
    )
    return explained(work)
