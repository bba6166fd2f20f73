"""Turn the failures that a training meets into messages for the user."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from s2rm.config.params import Train
from s2rm.core.errors import UserError
from s2rm.training.checkpoint import Progress

RESUME = "the same command continues from the last saved state"


@contextmanager
def explain_failures(train: Train, progress: Progress) -> Iterator[None]:
    """Turn failures that the user can remove into a `UserError` of one line; others pass unchanged.

    Args:
        train: the section `train`, whose values the messages name.
        progress: of the training; the messages name its step.

    Raises:
        UserError: the memory or the disk is full, the disk cannot be written to, or a loader process died
            or raised a `UserError` itself.
    """
    try:
        yield
    except UserError as error:
        # From a loader process torch passes on the whole traceback; the message is its last line.
        raise UserError(
            str(error).strip().splitlines()[-1].removeprefix("s2rm.core.errors.UserError: ")
        ) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(_out_of_memory(train, progress)) from error
    except RuntimeError as error:
        text = str(error)
        if "DataLoader worker" in text:
            raise UserError(_loader_died(train, progress)) from error
        if "not enough memory" in text or "can't allocate memory" in text:  # torch's allocator on a CPU
            raise UserError(_out_of_memory(train, progress)) from error
        raise
    except (ConnectionError, EOFError) as error:  # a loader process died while it passed on a batch
        raise UserError(_loader_died(train, progress)) from error
    except (OSError, SafetensorError) as error:  # the weights' writer has an exception of its own
        raise UserError(
            f"after step {progress.step}: {error}; make room or repair the disk, then {RESUME}"
        ) from error


def _loader_died(train: Train, progress: Progress) -> str:
    return (
        f"a loader process died after step {progress.step}, possibly because memory ran out: lower "
        f"train.workers ({train.workers}); {RESUME}"
    )


def _out_of_memory(train: Train, progress: Progress) -> str:
    return (
        f"out of memory after step {progress.step}: lower train.expressions_per_batch "
        f"({train.expressions_per_batch}) and raise train.accumulation ({train.accumulation}) by the same "
        f"factor; {RESUME}, but with another batch size the training starts over"
    )
