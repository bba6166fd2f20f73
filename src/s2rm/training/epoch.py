"""One pass over the training expressions, from wherever the last one was left: loss, steps, logs, states."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.data.dataset import Batch
from s2rm.data.samplers import GroupedBatchSampler
from s2rm.training.checkpoint import Progress, RngState
from s2rm.training.loss import segmentation_loss
from s2rm.training.signals import SignalFlag

LogMetrics = Callable[[dict[str, float], int], None]


@dataclass
class EpochLoop:
    """What an epoch needs; `run` leaves its marks in model, optimiser, schedule and progress."""

    accelerator: Accelerator
    model: Any
    optimiser: Any
    schedule: Any
    loader: Any
    batches: GroupedBatchSampler
    params: Params
    progress: Progress
    steps: int  # optimiser steps in all
    log: LogMetrics
    save: Callable[[], None]

    def run(self, epoch: int, random: RngState | None, stop: SignalFlag) -> dict[str, float]:
        """One pass over the expressions, or the rest of one; the mean of each part of the loss.

        `random` is the state to go on with, where one was loaded.
        The losses stay on the device until they are logged: to look at each would make a GPU wait for it.
        """
        train, progress, accelerator = self.params.train, self.progress, self.accelerator
        self.batches.set_epoch(epoch)
        loader = self.loader
        if progress.batch:
            loader = accelerator.skip_first_batches(loader, progress.batch)
        loader.set_epoch(epoch)  # else accelerate's own count, 0 after a restart, overrides it
        if random is not None and not progress.batch:
            random.restore()
            random = None
        self.model.train()
        sums = {name: torch.tensor(value, device=accelerator.device) for name, value in progress.sums.items()}
        seen, since, started = progress.seen, 0, time.perf_counter()
        bar = tqdm(
            loader,
            desc=f"epoch {epoch + 1}/{train.epochs}",
            unit="batch",
            initial=progress.batch,
            total=len(self.loader),
            disable=not accelerator.is_main_process,
        )
        for batch in bar:
            if random is not None:  # of inside the epoch, whose beginning drew from it already
                random.restore()
                random = None
            parts = self._step(batch)
            count = len(batch.token_ids)
            seen, since = seen + count, since + count
            progress.batch += 1
            for name, value in parts.items():
                sums[name] = sums.get(name, 0) + value.detach() * count
            if not accelerator.sync_gradients:
                continue
            self.schedule.step()
            progress.step += 1
            if progress.step % train.log_every == 0:
                losses = _fetch(parts)
                _check_finite(sums["loss"], progress.step, self.params)
                now = time.perf_counter()
                metrics = {f"train/{name}": value for name, value in losses.items()}
                metrics["train/learning_rate"] = self.schedule.get_last_lr()[-1]
                metrics["train/expressions_per_second"] = since * accelerator.num_processes / (now - started)
                self.log(metrics, progress.step)
                bar.set_postfix(loss=f"{losses['loss']:.3f}")
                since, started = 0, now
            stopped = self._is_stopped(stop)
            if stopped or progress.step % train.save_every == 0:
                _check_finite(sums["loss"], progress.step, self.params)
                progress.sums, progress.seen = self._total(sums, seen)
                self.save()
            if stopped:
                stop.raise_stopped(progress.step, self.steps)
        if random is not None:
            random.restore()
        _check_finite(sums["loss"], progress.step, self.params)
        totals, seen = self._total(sums, seen)
        return {f"train/{name}": round(value / seen, 6) for name, value in totals.items()}

    def _total(self, sums: dict[str, torch.Tensor], seen: int) -> tuple[dict[str, float], int]:
        """Over all processes."""
        everything = torch.stack([*sums.values(), torch.tensor(float(seen), device=self.accelerator.device)])
        *totals, count = self.accelerator.reduce(everything, "sum").tolist()
        return dict(zip(sums, totals, strict=True)), int(count)

    def _step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Forward, backward and, once enough batches are accumulated, an optimiser step; the loss's parts."""
        with self.accelerator.accumulate(self.model):
            with self.accelerator.autocast():
                masks = self.model(
                    batch.images, batch.token_ids, batch.attention_mask, batch.expression_to_image
                )
            parts = segmentation_loss(masks, batch.masks, self.params.loss)
            self.accelerator.backward(parts["loss"])
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.params.train.clip)
            self.optimiser.step()
            self.optimiser.zero_grad()
        return parts

    def _is_stopped(self, stop: SignalFlag) -> bool:
        """Whether a signal has come to any process; several ask each other only when they log."""
        if self.accelerator.num_processes == 1:
            return stop.signal is not None
        if self.progress.step % self.params.train.log_every:
            return False
        if stop.signal is not None:
            self.accelerator.set_trigger()
        return bool(self.accelerator.check_trigger())


def _fetch(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Scalars of the device in one transfer."""
    return dict(zip(values, torch.stack(list(values.values())).detach().tolist(), strict=True))


def _check_finite(total: torch.Tensor, step: int, params: Params) -> None:
    """`total`: the sum of the epoch's losses so far."""
    if not torch.isfinite(total):
        raise UserError(
            f"the loss became {total.item()} in one of the {params.train.log_every} steps up to step {step}: "
            f"lower train.learning_rate ({params.train.learning_rate}) or train.clip ({params.train.clip})"
        )
