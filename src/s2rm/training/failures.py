"""What goes wrong in the middle of a training, in the user's words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from s2rm.config.params import Train
from s2rm.core.errors import UserError
from s2rm.training.checkpoint import Progress

AGAIN = "the same command continues from the last saved state"


@contextmanager
def explain_faults(train: Train, progress: Progress) -> Iterator[None]:
    """Out of memory, a loader process that died, what one raised, a disk that refuses: a `UserError`."""
    try:
        yield
    except UserError as error:
        # From a loader process torch brings the whole traceback; the message is its last line.
        raise UserError(
            str(error).strip().splitlines()[-1].removeprefix("s2rm.core.errors.UserError: ")
        ) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(_out_of_memory(train, progress)) from error
    except RuntimeError as error:
        text = str(error)
        if "DataLoader worker" in text:
            raise UserError(
                f"a loader process died after step {progress.step}, killed perhaps for its memory: lower "
                f"train.workers ({train.workers}); {AGAIN}"
            ) from error
        if "not enough memory" in text or "can't allocate memory" in text:  # torch's allocator on a CPU
            raise UserError(_out_of_memory(train, progress)) from error
        raise
    except (OSError, SafetensorError) as error:  # the weights' writer has an exception of its own
        raise UserError(f"after step {progress.step}: {error}; mend it or make room, then {AGAIN}") from error


def _out_of_memory(train: Train, progress: Progress) -> str:
    return (
        f"out of memory after step {progress.step}: lower train.expressions_per_batch "
        f"({train.expressions_per_batch}) and raise train.accumulation ({train.accumulation}) by the same "
        f"factor; {AGAIN}, but another batch is another training"
    )
