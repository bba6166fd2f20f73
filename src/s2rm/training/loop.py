"""Trains one run: batches → loss → steps, validation, checkpoints. Accelerate owns the device."""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, gather_object, set_seed
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from s2rm.data.grouping import GroupedBatches, group_by_image
from s2rm.data.samples import Batch
from s2rm.data.tokens import build_tokenizer
from s2rm.data.weights import find_weights
from s2rm.errors import UserError
from s2rm.evaluation.evaluate import dataset_for
from s2rm.evaluation.metrics import segmentation_metrics
from s2rm.evaluation.sharding import score_together
from s2rm.memory import keep_freed_memory
from s2rm.model.build import build_model
from s2rm.model.ris import S2RM
from s2rm.params import Params, Run
from s2rm.training.activation_checkpointing import checkpoint_activations
from s2rm.training.checkpoint import Progress, Random, load_state, save_state
from s2rm.training.faults import explain_faults
from s2rm.training.loss import segmentation_loss
from s2rm.training.optimiser import build_optimiser, build_schedule
from s2rm.training.rows import load_rows
from s2rm.training.stopping import Stop, heed_signals

logger = logging.getLogger(__name__)

SMALLEST_BATCH = 16  # LAVT's users saw trainings collapse below (LAVT-RIS issue 10)
LogMetrics = Callable[[dict[str, float], int], None]


def train_run(
    params: Params,
    run: Run,
    *,
    prepared: Path,
    raw: Path,
    weights: Path,
    output: Path,
    scratch: Path,
    log: LogMetrics,
) -> Progress:
    """Trains the model of `run` into the folder `output`.

    Args:
        prepared: folder of the prepared tables; raw: the folder that their image paths start from.
        weights: folder of the pretrained encoders, read only where the parameters want any.
        scratch: where the state of an unfinished training is kept; a state found there is continued.
        log: called with metrics and the optimiser step as they come; of several processes, in the main one.

    `output` then holds what `S2RM.from_pretrained` reads (best weights), last.safetensors and
    history.jsonl, a record a validation.
    """
    train = params.train
    accelerator = _accelerator(params)
    if train.expressions_per_batch % accelerator.num_processes:
        raise UserError(
            f"train.expressions_per_batch is {train.expressions_per_batch}: it must be a multiple of the "
            f"{accelerator.num_processes} processes, which share each batch"
        )
    set_seed(train.seed)
    torch.use_deterministic_algorithms(train.deterministic, warn_only=True)
    # Else determinism also fills all memory that nothing has been written to: a pass over each new map.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    keep_freed_memory()

    table, validation = load_rows(params, run, prepared)
    start = find_weights(weights, params.vision, params.language)
    tokenizer = build_tokenizer(table["expression"], params.language, start.language)
    model = build_model(params, tokenizer, vision_weights=start.vision, language_weights=start.language)
    model = model.to(memory_format=torch.channels_last)
    if train.activation_checkpointing:
        checkpoint_activations(model)

    dataset = dataset_for(model, tokenizer, table, raw)
    batches = GroupedBatches(
        group_by_image(dataset.image_path),
        expressions=train.expressions_per_batch,
        expressions_per_image=train.expressions_per_image,
        seed=train.seed,
        processes=accelerator.num_processes,
    )
    loader: Any = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=dataset.collate,
        num_workers=train.workers,
        persistent_workers=train.workers > 0,
        pin_memory=accelerator.device.type == "cuda",
    )
    _warn_of_small_batches(train.expressions_per_batch * train.accumulation)
    optimiser = build_optimiser(model, train)
    steps = math.ceil(len(batches) / accelerator.num_processes / train.accumulation) * train.epochs
    schedule = build_schedule(optimiser, train, steps)
    model, optimiser, loader = accelerator.prepare(model, optimiser, loader)

    states = {"model": accelerator.unwrap_model(model), "optimiser": optimiser, "schedule": schedule}
    state_file = scratch / "state.pt"
    progress, random = load_state(state_file, accelerator.process_index, **states)
    if not accelerator.is_main_process:  # it alone logs, and takes up what all had summed
        log = _log_nothing
        progress.seen, progress.sums = 0, dict.fromkeys(progress.sums, 0.0)
    if progress.step:
        logger.info("continuing after step %d of %d", progress.step, steps)
    training = _Training(
        accelerator=accelerator,
        model=model,
        optimiser=optimiser,
        schedule=schedule,
        loader=loader,
        batches=batches,
        params=params,
        progress=progress,
        steps=steps,
        log=log,
        save=lambda: _save(accelerator, state_file, progress, states),
    )
    kept = scratch / "model"

    with heed_signals() as stop, explain_faults(train, progress):
        for epoch in range(progress.epoch, train.epochs):
            losses = training.run_epoch(epoch, random, stop)
            random = None
            progress.epoch, progress.batch, progress.seen, progress.sums = epoch + 1, 0, 0, {}
            if progress.epoch % train.validate_every and progress.epoch < train.epochs:
                continue
            plain = accelerator.unwrap_model(model)
            record = {"epoch": progress.epoch, "step": progress.step, **losses}
            record |= validate(plain, tokenizer, validation, raw, params, accelerator)
            progress.history.append(record)
            log({key: value for key, value in record.items() if key.startswith("val/")}, progress.step)
            logger.info("epoch %d: %s", progress.epoch, _summary(record))
            if accelerator.is_main_process:
                plain.save_pretrained(kept, tokenizer, "last")
                if record[f"val/mean/{train.select_by}"] > progress.best:
                    progress.best = record[f"val/mean/{train.select_by}"]
                    plain.save_pretrained(kept, tokenizer, "model")
            training.save()

    if accelerator.is_main_process:
        shutil.copytree(kept, output, dirs_exist_ok=True)
        lines = [json.dumps(record) + "\n" for record in progress.history]
        (output / "history.jsonl").write_text("".join(lines), encoding="utf-8")
    accelerator.wait_for_everyone()
    return progress


def _log_nothing(metrics: dict[str, float], step: int) -> None:
    pass


def _save(accelerator: Accelerator, path: Path, progress: Progress, states: dict[str, Any]) -> None:
    randoms = gather_object([Random.now()]) if accelerator.num_processes > 1 else [Random.now()]
    if accelerator.is_main_process:
        save_state(path, progress, randoms, **states)


def _accelerator(params: Params) -> Accelerator:
    train = params.train
    if train.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device is 'cuda', but torch sees no GPU: set train.device=cpu or auto")
    return Accelerator(
        cpu=train.device == "cpu" or not torch.cuda.is_available(),
        mixed_precision="bf16" if train.precision == "bf16" else "no",
        gradient_accumulation_steps=train.accumulation,
        dataloader_config=DataLoaderConfiguration(even_batches=False, non_blocking=True),
        step_scheduler_with_optimizer=False,
    )


@dataclass
class _Training:
    """What an epoch needs and leaves."""

    accelerator: Accelerator
    model: Any
    optimiser: Any
    schedule: Any
    loader: Any
    batches: GroupedBatches
    params: Params
    progress: Progress
    steps: int  # optimiser steps in all
    log: LogMetrics
    save: Callable[[], None]

    def run_epoch(self, epoch: int, random: Random | None, stop: Stop) -> dict[str, float]:
        """One pass over the expressions, or the rest of one; the mean of each part of the loss.

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

    def _is_stopped(self, stop: Stop) -> bool:
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


def validate(
    model: S2RM,
    tokenizer: PreTrainedTokenizerBase,
    tables: dict[str, pd.DataFrame],
    raw: Path,
    params: Params,
    accelerator: Accelerator,
) -> dict[str, float]:
    """oIoU and mIoU at the model's size on the val split of each benchmark, and their means."""
    metrics: dict[str, float] = {}
    scored = [name for name, table in tables.items() if len(table)]
    if not scored:
        raise UserError(f"no expression to validate on: {', '.join(tables)} have no split 'val'")
    for name in scored:
        scores = score_together(
            model,
            tokenizer,
            tables[name],
            raw,
            images_per_batch=max(1, params.train.expressions_per_batch // params.train.expressions_per_image),
            threshold=0.5,
            device=accelerator.device,
            precision=params.train.precision,
            workers=params.train.workers,
            original=False,
            title=f"{name} val",
        )
        found = segmentation_metrics(scores["intersection_model"], scores["union_model"])
        metrics |= {f"val/{name}/{metric}": found[metric] for metric in ("oIoU", "mIoU")}
    for metric in ("oIoU", "mIoU"):
        values = [metrics[f"val/{name}/{metric}"] for name in scored]
        metrics[f"val/mean/{metric}"] = round(sum(values) / len(values), 4)
    return metrics


def _warn_of_small_batches(effective: int) -> None:
    if effective < SMALLEST_BATCH:
        logger.warning(
            "an optimiser step sees %d expressions: below %d such models were seen to collapse; raise "
            "train.expressions_per_batch or train.accumulation",
            effective,
            SMALLEST_BATCH,
        )


def _summary(record: dict[str, float]) -> str:
    return (
        ", ".join(
            f"{key.removeprefix('val/').removesuffix('/mIoU')} {value:.1f}"
            for key, value in record.items()
            if key.endswith("/mIoU")
        )
        + f" mIoU; loss {record['train/loss']:.3f}"
    )
