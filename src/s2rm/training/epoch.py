"""Run one epoch, or the rest of an interrupted one: loss, optimiser steps, logs and saved states."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from s2rm.config.params import Params
from s2rm.core.errors import StoppedError, UserError
from s2rm.core.signals import SignalFlag
from s2rm.data.dataset import Batch
from s2rm.data.processor import Processor
from s2rm.data.samplers import GroupedBatchSampler
from s2rm.training.checkpoint import Progress, RngState
from s2rm.training.loss import segmentation_loss
from s2rm.training.masking import add_masked, masked_loss

LogMetrics = Callable[[dict[str, float], int], None]

SKIPPED_IN_A_ROW = 20  # steps that were not finite, after which a training ends; fp16 begins with up to 16


@dataclass
class EpochLoop:
    """Trains one epoch at a time; `run` changes the model, the optimiser, the schedule and the progress."""

    accelerator: Accelerator
    model: Any
    """As the accelerator prepared it, like the optimiser and the loader."""
    optimiser: Any
    schedule: Any
    loader: Any
    processor: Processor
    batches: GroupedBatchSampler
    """The loader's sampler."""
    params: Params
    progress: Progress
    steps: int
    """Optimiser steps of the whole training."""
    log: LogMetrics
    """Called with metrics and the optimiser step."""
    update_average: Callable[[], None]
    """Called after each optimiser step."""
    save: Callable[[bool], None]
    """Begins to write the state of the training, and waits for it where the argument is true."""
    skips: torch.Tensor = field(default_factory=lambda: torch.zeros(2))
    """Optimiser steps that were skipped: all, and the last ones in a row; on the device."""

    def run(self, epoch: int, rng_state: RngState | None, stop: SignalFlag) -> dict[str, float]:
        """Train on every expression once, or on the rest of an interrupted epoch.

        The losses stay on the device until they are logged: reading each one would synchronise with the GPU.
        A step whose gradient is not finite changes nothing and is counted.

        Args:
            epoch: index of the epoch.
            rng_state: where a state was loaded, that of its random number generators.
            stop: tells whether a signal was received.

        Returns:
            train/<part> → the mean of each part of the loss over the expressions of the epoch.

        Raises:
            UserError: no gradient of the last `SKIPPED_IN_A_ROW` steps, or of a whole epoch, was finite.
            StoppedError: a signal was received; the state is saved.
        """
        train, progress, accelerator = self.params.train, self.progress, self.accelerator
        self.next_save = time.monotonic() + 60 * train.save_minutes
        self.batches.set_epoch(epoch)
        loader = self.loader
        if progress.batch:
            loader = accelerator.skip_first_batches(loader, progress.batch)
        loader.set_epoch(epoch)  # otherwise accelerate's own count, 0 after a restart, overrides it
        if rng_state is not None and not progress.batch:
            rng_state.restore()
            rng_state = None
        self.model.train()
        # In float64, where the order of the processes changes no digit that is written.
        exact = {"dtype": torch.float64, "device": accelerator.device}
        sums = {name: torch.tensor(value, **exact) for name, value in progress.sums.items()}
        seen = torch.tensor(float(progress.seen), **exact)
        self.skips = torch.tensor(progress.skips, device=accelerator.device)
        since, started = 0, time.perf_counter()
        bar = tqdm(
            loader,
            desc=f"epoch {epoch + 1}/{train.epochs}",
            unit="batch",
            initial=progress.batch,
            total=len(self.loader),
            disable=not accelerator.is_main_process,
        )
        with bar:  # which ends its line, also where a signal or an error comes in between
            for batch in bar:
                if rng_state is not None:  # saved inside the epoch: the loader has drawn its own numbers now
                    rng_state.restore()
                    rng_state = None
                parts = self._step(batch)
                count = len(batch.token_ids)
                since += count
                progress.batch += 1
                counted = torch.isfinite(parts["loss"])
                seen = seen + count * counted
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0) + torch.where(counted, value.detach().double() * count, 0)
                if not accelerator.sync_gradients:
                    continue
                self.schedule.step()
                self.update_average()
                progress.step += 1
                if progress.step % train.log_every == 0:
                    losses = _fetch(parts)
                    self._check_skips()
                    now = time.perf_counter()
                    metrics = {f"train/{name}": value for name, value in losses.items()}
                    metrics["train/learning_rate"] = self.schedule.get_last_lr()[-1]
                    metrics["train/skipped_steps"] = progress.skips[0]
                    metrics["train/expressions_per_second"] = (
                        since * accelerator.num_processes / (now - started)
                    )
                    self.log(metrics, progress.step)
                    bar.set_postfix(loss=f"{losses['loss']:.3f}")
                    since, started = 0, now
                stopped, due = self._ask(stop.signal is not None, time.monotonic() >= self.next_save)
                if stopped or due:
                    self._check_skips()
                    progress.sums, progress.seen = self._total(sums, seen)
                    self.save(stopped)
                    self.next_save = time.monotonic() + 60 * train.save_minutes
                if stopped:
                    accelerator.wait_for_everyone()  # a launcher ends all once one has ended
                    raise _stopped(stop.signal or signal.SIGTERM, progress.step, self.steps)
        if rng_state is not None:
            rng_state.restore()
        self._check_skips()
        totals, expressions = self._total(sums, seen)
        return {f"train/{name}": round(value / max(expressions, 1), 6) for name, value in totals.items()}

    def _total(self, sums: dict[str, torch.Tensor], seen: torch.Tensor) -> tuple[dict[str, float], int]:
        """Add up the sums of the losses and the counts of all processes."""
        everything = torch.stack([*sums.values(), seen])
        *totals, count = self.accelerator.reduce(everything, "sum").tolist()
        return dict(zip(sums, totals, strict=True)), int(count)

    def _check_skips(self) -> None:
        """Copy the numbers of skipped steps to the progress; too many in a row raise a UserError."""
        train = self.params.train
        self.progress.skips = self.skips.tolist()
        _, in_a_row = self.progress.skips
        if in_a_row >= min(SKIPPED_IN_A_ROW, self.steps // train.epochs):
            raise UserError(
                f"the gradient was not finite in each of the last {in_a_row:.0f} steps up to step "
                f"{self.progress.step}: lower train.learning_rate ({train.learning_rate}) or train.clip "
                f"({train.clip})"
            )

    def _step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Run forward and backward and, once enough batches are accumulated, an optimiser step.

        Returns:
            The parts of the loss, as `segmentation_loss` or `masked_loss` returns them.
        """
        with self.accelerator.accumulate(self.model):
            images = self.processor.normalise(batch.pixels)
            inputs = images, batch.token_ids, batch.attention_mask, batch.expression_to_image
            train, loss = self.params.train, segmentation_loss
            if train.image_masking or train.text_masking:
                inputs, loss = add_masked(inputs, self.processor.tokenizer, train), masked_loss
            with self.accelerator.autocast():
                masks = self.model(*inputs)
            parts = loss(masks, batch.masks, self.params.loss)
            self.accelerator.backward(parts["loss"])
            if self.accelerator.sync_gradients:
                norm = self.accelerator.clip_grad_norm_(self.model.parameters(), train.clip)
                self._skip_unless_finite(norm)
            self.optimiser.step()
            self.optimiser.zero_grad()
        return parts

    def _skip_unless_finite(self, norm: torch.Tensor) -> None:
        """Let the optimiser skip the next step where the norm of its gradient is not finite.

        torch's fused optimisers take this from the device, as they do from a GradScaler.
        """
        skipped = (~torch.isfinite(norm)).float()
        self.skips = torch.stack([self.skips[0] + skipped, (self.skips[1] + 1) * skipped])
        if self.accelerator.scaler is None:
            self.optimiser.optimizer.found_inf = skipped

    def _ask(self, stopped: bool, due: bool) -> tuple[bool, bool]:
        """Return whether any process was stopped, and whether a state is due in any of them.

        Several processes ask each other only when they log.
        """
        if self.accelerator.num_processes == 1:
            return stopped, due
        if self.progress.step % self.params.train.log_every:
            return False, False
        flags = torch.tensor([stopped, due], dtype=torch.float32, device=self.accelerator.device)
        any_stopped, any_due = self.accelerator.reduce(flags, "sum").tolist()
        return any_stopped > 0, any_due > 0


def _fetch(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Copy scalars from the device, in one transfer."""
    return dict(zip(values, torch.stack(list(values.values())).detach().tolist(), strict=True))


def _stopped(number: int, step: int, steps: int) -> StoppedError:
    name = signal.Signals(number).name
    return StoppedError(
        f"{name} after step {step} of {steps}: the state is saved, the same command continues it", number
    )
