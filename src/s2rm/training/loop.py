"""Trains one run: batches → loss → steps, validation, checkpoints. Accelerate owns the device."""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from s2rm.data.grouping import GroupedBatches, group_by_image
from s2rm.data.tokens import build_tokenizer
from s2rm.data.weights import find_weights
from s2rm.errors import UserError
from s2rm.evaluation.evaluate import dataset_for, score_expressions
from s2rm.evaluation.metrics import segmentation_metrics
from s2rm.memory import keep_freed_memory
from s2rm.model.build import build_model
from s2rm.model.ris import S2RM
from s2rm.params import Params, Run
from s2rm.training.activation_checkpointing import checkpoint_activations
from s2rm.training.checkpoint import Progress, load_state, save_state
from s2rm.training.loss import segmentation_loss
from s2rm.training.optimiser import build_optimiser, build_schedule
from s2rm.training.rows import load_rows

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
        log: called with metrics and the optimiser step as they come.

    `output` then holds what `S2RM.from_pretrained` reads (best weights), last.safetensors and
    history.jsonl, a record a validation.
    """
    train = params.train
    accelerator = _accelerator(params)
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
    steps = math.ceil(len(batches) / train.accumulation) * train.epochs
    schedule = build_schedule(optimiser, train, steps)
    model, optimiser, loader = accelerator.prepare(model, optimiser, loader)

    state_file = scratch / "state.pt"
    states = {"model": accelerator.unwrap_model(model), "optimiser": optimiser, "schedule": schedule}
    progress = load_state(state_file, **states)
    if progress.epoch:
        logger.info("continuing after epoch %d of %d", progress.epoch, train.epochs)
    kept = scratch / "model"

    for epoch in range(progress.epoch, train.epochs):
        batches.set_epoch(epoch)
        loader.set_epoch(epoch)  # else accelerate's own count, 0 after a restart, overrides it
        losses = _train_epoch(
            accelerator,
            model,
            optimiser,
            schedule,
            loader,
            params,
            progress,
            log,
            f"epoch {epoch + 1}/{train.epochs}",
        )
        progress.epoch = epoch + 1
        if progress.epoch % train.validate_every and progress.epoch < train.epochs:
            continue
        plain = accelerator.unwrap_model(model)
        record = {"epoch": progress.epoch, "step": progress.step, **losses}
        record |= validate(plain, tokenizer, validation, raw, params, accelerator.device)
        progress.history.append(record)
        log({key: value for key, value in record.items() if key.startswith("val/")}, progress.step)
        logger.info("epoch %d: %s", progress.epoch, _summary(record))
        if accelerator.is_main_process:
            plain.save_pretrained(kept, tokenizer, "last")
            if record[f"val/mean/{train.select_by}"] > progress.best:
                progress.best = record[f"val/mean/{train.select_by}"]
                plain.save_pretrained(kept, tokenizer, "model")
            save_state(state_file, progress, **states)

    if accelerator.is_main_process:
        shutil.copytree(kept, output, dirs_exist_ok=True)
        lines = [json.dumps(record) + "\n" for record in progress.history]
        (output / "history.jsonl").write_text("".join(lines), encoding="utf-8")
    return progress


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


def _train_epoch(
    accelerator: Accelerator,
    model: Any,
    optimiser: Any,
    schedule: Any,
    loader: Any,
    params: Params,
    progress: Progress,
    log: LogMetrics,
    title: str,
) -> dict[str, float]:
    """One pass over the expressions; the mean of each part of the loss.

    The losses stay on the device until they are logged: to look at each would make a GPU wait for it.
    """
    model.train()
    sums: dict[str, torch.Tensor] = {}
    seen, since, started = 0, 0, time.perf_counter()
    bar = tqdm(loader, desc=title, unit="batch", disable=not accelerator.is_main_process)
    for batch in bar:
        with accelerator.accumulate(model):
            with accelerator.autocast():
                masks = model(batch.images, batch.token_ids, batch.attention_mask, batch.expression_to_image)
            parts = segmentation_loss(masks, batch.masks, params.loss)
            accelerator.backward(parts["loss"])
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), params.train.clip)
            optimiser.step()
            optimiser.zero_grad()
        count = len(batch.token_ids)
        seen, since = seen + count, since + count
        for name, value in parts.items():
            sums[name] = sums.get(name, 0) + value.detach() * count
        if accelerator.sync_gradients:
            schedule.step()
            progress.step += 1
            if progress.step % params.train.log_every == 0:
                losses = _fetch(parts)
                _check_finite(sums["loss"], progress.step, params)
                now = time.perf_counter()
                metrics = {f"train/{name}": value for name, value in losses.items()}
                metrics["train/learning_rate"] = schedule.get_last_lr()[-1]
                metrics["train/expressions_per_second"] = since / (now - started)
                log(metrics, progress.step)
                bar.set_postfix(loss=f"{losses['loss']:.3f}")
                since, started = 0, now
    _check_finite(sums["loss"], progress.step, params)
    return {f"train/{name}": round(value / seen, 6) for name, value in _fetch(sums).items()}


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
    device: torch.device,
) -> dict[str, float]:
    """oIoU and mIoU at the model's size on the val split of each benchmark, and their means."""
    metrics: dict[str, float] = {}
    scored = [name for name, table in tables.items() if len(table)]
    if not scored:
        raise UserError(f"no expression to validate on: {', '.join(tables)} have no split 'val'")
    for name in scored:
        scores = score_expressions(
            model,
            tokenizer,
            tables[name],
            raw,
            images_per_batch=max(1, params.train.expressions_per_batch // params.train.expressions_per_image),
            threshold=0.5,
            device=device,
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
