"""Trains one run: batches → loss → steps, validation, checkpoints. Accelerate owns the device."""

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, gather_object, set_seed
from torch.utils.data import DataLoader

from s2rm.acquire.hub.weights import find_weights
from s2rm.config.params import Params, Run
from s2rm.core.errors import UserError
from s2rm.core.files import replace_text
from s2rm.data.dataset import ExpressionDataset
from s2rm.data.image_zip import ImageFiles
from s2rm.data.processor import Processor
from s2rm.data.samplers import GroupedBatchSampler, group_by_image
from s2rm.data.tokenizer import build_tokenizer
from s2rm.model.create import create_for_training
from s2rm.training.activation_checkpointing import checkpoint_activations
from s2rm.training.checkpoint import Progress, RngState, load_state, save_state
from s2rm.training.epoch import EpochLoop, LogMetrics
from s2rm.training.failures import explain_faults
from s2rm.training.optim import build_optimiser, build_schedule
from s2rm.training.rows import load_rows
from s2rm.training.signals import deferred_signals
from s2rm.training.validation import summary, validate

logger = logging.getLogger(__name__)

SMALLEST_BATCH = 16  # LAVT's users saw trainings collapse below (LAVT-RIS issue 10)


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
    """Train the model of `run` into the folder `output`.

    `output` then holds the best model and its processor, as `Predictor.from_pretrained` reads them, and
    history.jsonl, one record per validation.

    Args:
        params: all parameters.
        run: what is trained on.
        prepared: folder of the prepared tables.
        raw: the folder that their image paths start from.
        weights: folder of the pretrained encoders, read only where the parameters want any.
        output: models/<run>.
        scratch: where the state of an unfinished training is kept; a state found there is continued.
        log: called with metrics and the optimiser step, in the main process.

    Raises:
        UserError: the parameters do not fit the machine or the data, or the training failed for a reason that
            the user can remove.
        StoppedError: a signal stopped the training, whose state is saved.
    """
    train = params.train
    accelerator = _accelerator(params)
    if train.expressions_per_batch % accelerator.num_processes:
        raise UserError(
            f"train.expressions_per_batch is {train.expressions_per_batch}: it must be a multiple of the "
            f"{accelerator.num_processes} processes, which share each batch"
        )
    set_seed(train.seed)

    table, validation = load_rows(params, run, prepared)
    start = find_weights(weights, params.vision, params.language)
    tokenizer = build_tokenizer(table["expression"], params.language, start.language)
    model = create_for_training(
        params, tokenizer, vision_weights=start.vision, language_weights=start.language
    )
    processor = Processor(
        tokenizer,
        image_size=params.vision.image_size,
        max_tokens=params.language.tokens,
        mean=model.vision.mean,
        std=model.vision.std,
    )
    model = model.to(memory_format=torch.channels_last)
    if train.activation_checkpointing:
        checkpoint_activations(model)

    images = ImageFiles(raw)
    dataset = ExpressionDataset(table, images, processor)
    batches = GroupedBatchSampler(
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
    training = EpochLoop(
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

    with deferred_signals() as stop, explain_faults(train, progress):
        for epoch in range(progress.epoch, train.epochs):
            losses = training.run(epoch, random, stop)
            random = None
            progress.epoch, progress.batch, progress.seen, progress.sums = epoch + 1, 0, 0, {}
            if progress.epoch % train.validate_every and progress.epoch < train.epochs:
                continue
            plain = accelerator.unwrap_model(model)
            record = {"epoch": progress.epoch, "step": progress.step, **losses}
            record |= validate(plain, processor, validation, images, params, accelerator)
            progress.history.append(record)
            log({key: value for key, value in record.items() if key.startswith("val/")}, progress.step)
            logger.info("epoch %d: %s", progress.epoch, summary(record))
            if accelerator.is_main_process and record[f"val/mean/{train.select_by}"] > progress.best:
                progress.best = record[f"val/mean/{train.select_by}"]
                plain.save_pretrained(kept)
                processor.save_pretrained(kept)
            training.save()

    if accelerator.is_main_process:
        shutil.copytree(kept, output, dirs_exist_ok=True)
        lines = [json.dumps(record) + "\n" for record in progress.history]
        replace_text(output / "history.jsonl", "".join(lines))
    accelerator.wait_for_everyone()
    return progress


def _log_nothing(metrics: dict[str, float], step: int) -> None:
    pass


def _save(accelerator: Accelerator, path: Path, progress: Progress, states: dict[str, Any]) -> None:
    randoms = gather_object([RngState.now()]) if accelerator.num_processes > 1 else [RngState.now()]
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


def _warn_of_small_batches(effective: int) -> None:
    if effective < SMALLEST_BATCH:
        logger.warning(
            "an optimiser step sees %d expressions: below %d such models were seen to collapse; raise "
            "train.expressions_per_batch or train.accumulation",
            effective,
            SMALLEST_BATCH,
        )
