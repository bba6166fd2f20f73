"""Train one run: batches → loss → optimiser steps, validation, saved states. Accelerate owns the device."""

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedDataParallelKwargs,
    TorchDynamoPlugin,
    gather_object,
    set_seed,
)
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from s2rm.acquire.hub.weights import find_weights
from s2rm.config.params import Params, Run, Train
from s2rm.core.devices import choose_device
from s2rm.core.errors import UserError
from s2rm.core.files import replace_text
from s2rm.core.process import prepare_workers
from s2rm.core.signals import stop_signals
from s2rm.data.dataset import ExpressionDataset
from s2rm.data.image_zip import ImageFiles
from s2rm.data.processor import Processor
from s2rm.data.requirements import require_images
from s2rm.data.rows import Rows
from s2rm.data.samplers import GroupedBatchSampler
from s2rm.data.tokenizer import build_tokenizer
from s2rm.model.create import create_for_training
from s2rm.model.s2rm import S2RM
from s2rm.scan.triton_probe import runs_triton
from s2rm.training.activation_checkpointing import checkpoint_activations
from s2rm.training.checkpoint import Progress, RngState, StateWriter, load_state
from s2rm.training.epoch import EpochLoop, LogMetrics
from s2rm.training.failures import explain_failures
from s2rm.training.optim import build_optimiser, build_schedule
from s2rm.training.selection import load_rows, load_validation
from s2rm.training.validation import held_out, summarise, validate

logger = logging.getLogger(__name__)

COMPILER = "inductor"
FEWEST_IMAGES = 8  # a step; below, a user of LAVT saw a training collapse (LAVT-RIS issue 10)


def train_run(
    params: Params,
    run: Run,
    *,
    prepared: Path,
    raw: Path,
    weights: Path,
    output: Path,
    scratch: Path,
    log: LogMetrics | None = None,
) -> Progress:
    """Train the model of `run` into the folder `output`.

    `output` then holds the best model and its processor, as `Predictor.from_pretrained` reads them, and
    history.jsonl, one record per validation.

    Args:
        params: all parameters.
        run: what is trained on.
        prepared: folder of the prepared tables.
        raw: the folder that their image paths start from.
        weights: folder of the pretrained encoders, read only where the parameters ask for any.
        output: models/<run>.
        scratch: folder of the state of an unfinished training; a state found there is resumed.
        log: called with metrics and the optimiser step, in the main process; None logs nothing.

    Returns:
        The progress at the end.

    Raises:
        UserError: the parameters do not fit the machine or the data, or the training failed for a reason that
            the user can remove.
        StoppedError: a signal stopped the training, whose state is saved.
    """
    train = params.train
    accelerator = _create_accelerator(train)
    set_seed(train.seed)

    require_images(raw, run.train_on)
    scratch.mkdir(parents=True, exist_ok=True)
    with accelerator.main_process_first():
        rows = load_rows(params, run, prepared, scratch / "rows.arrow")
    validation = load_validation(run, prepared)
    model, processor = _build_model(params, rows, weights)
    images = ImageFiles(raw)
    batches, loader = _build_loader(ExpressionDataset(rows, images, processor), train, accelerator)
    _warn_of_small_batches(batches.images_per_batch * train.accumulation)
    optimiser = build_optimiser(model, train)
    steps = math.ceil(len(batches) / accelerator.num_processes / train.accumulation) * train.epochs
    schedule = build_schedule(optimiser, train, steps)

    accelerator.ddp_handler = _data_parallel(model, train)
    wrapped, optimiser, loader = accelerator.prepare(model, optimiser, loader)
    if accelerator.process_index:  # the weights are those of the first process; dropout is each one's own
        set_seed(train.seed, device_specific=True)
    model = accelerator.unwrap_model(wrapped, keep_torch_compile=False)
    states = {"model": model, "optimiser": optimiser, "schedule": schedule}
    average = _average(model, train.ema)
    if average is not None:
        states["average"] = average
    kept = model if average is None else cast(S2RM, average.module)  # what is validated and kept
    state_file, best = scratch / "state.pt", scratch / "model"
    progress, rng_state = _resume(accelerator, state_file, states)
    if progress.step:
        logger.info("continuing after step %d of %d", progress.step, steps)

    def save(wait: bool) -> None:
        _save(accelerator, writer, progress, states)
        if wait:
            writer.wait()

    if log is None or not accelerator.is_main_process:
        log = _log_nothing
    epochs = EpochLoop(
        accelerator=accelerator,
        model=wrapped,
        optimiser=optimiser,
        schedule=schedule,
        loader=loader,
        processor=processor,
        batches=batches,
        params=params,
        progress=progress,
        steps=steps,
        log=log,
        update_average=lambda: None if average is None else average.update_parameters(model),
        save=save,
    )

    with (
        stop_signals(at_once=False) as stop,
        explain_failures(train, progress),
        StateWriter(state_file) as writer,
    ):
        for epoch in range(progress.epoch, train.epochs):
            losses = epochs.run(epoch, rng_state, stop)
            rng_state = None
            progress.finish_epoch()
            if progress.epoch % train.validate_every and progress.epoch < train.epochs:
                continue
            record = {"epoch": progress.epoch, "step": progress.step, **losses}
            record |= validate(kept, processor, validation, images, params, accelerator)
            progress.history.append(record)
            log({key: value for key, value in record.items() if key.startswith("val/")}, progress.step)
            logger.info("epoch %d: %s", progress.epoch, summarise(record))
            score = record[f"val/mean/{train.select_by}"]
            if accelerator.is_main_process and (score > progress.best or not held_out(validation, train)):
                progress.best = score
                kept.save_pretrained(best)
                processor.save_pretrained(best)
            save(False)

    if accelerator.is_main_process:
        shutil.copytree(best, output, dirs_exist_ok=True)
        lines = [json.dumps(record) + "\n" for record in progress.history]
        replace_text(output / "history.jsonl", "".join(lines))
    accelerator.wait_for_everyone()
    return progress


def _create_accelerator(train: Train) -> Accelerator:
    device = choose_device(train.device)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no" if train.precision == "float32" else train.precision,
        dynamo_plugin=TorchDynamoPlugin(backend=COMPILER if train.compile else None),
        gradient_accumulation_steps=train.accumulation,
        dataloader_config=DataLoaderConfiguration(even_batches=False, non_blocking=True),
        step_scheduler_with_optimizer=False,
    )
    if device.type == "cuda":
        runs_triton()
    if train.expressions_per_batch % accelerator.num_processes:
        raise UserError(
            f"train.expressions_per_batch is {train.expressions_per_batch}: it must be a multiple of the "
            f"{accelerator.num_processes} processes, which share each batch"
        )
    return accelerator


def _data_parallel(model: S2RM, train: Train) -> DistributedDataParallelKwargs:
    """Return the options of DDP, which several processes use."""
    return DistributedDataParallelKwargs(
        gradient_as_bucket_view=True,  # no second copy of the gradients
        # Statistics of BatchNorms are those of the first process; the other buffers are constants.
        broadcast_buffers=any(isinstance(each, _BatchNorm) for each in model.modules()),
        # Each step trains the same parameters. torch.compile splits buckets, which a static graph forbids.
        static_graph=train.accumulation == 1 and not train.compile,
    )


def _build_model(params: Params, rows: Rows, weights: Path) -> tuple[S2RM, Processor]:
    """Build the model to train, and the processor that makes its inputs.

    Args:
        params: all parameters.
        rows: what is trained on; a vocabulary of our own is learned from their expressions.
        weights: folder of the pretrained encoders.
    """
    start = find_weights(weights, params.vision, params.language)
    tokenizer = build_tokenizer(rows.expressions, params.language, start.language)
    if params.train.text_masking and tokenizer.mask_token_id is None:
        raise UserError(
            f"train.text_masking is {params.train.text_masking}, but the tokenizer of "
            f"{params.language.pretrained} has no mask token: set it to 0"
        )
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
    if not params.loss.auxiliary and (params.decoder.kind == "fpn" or not params.decoder.foreground_guidance):
        # Nothing trains the coarse mask heads, and several processes would wait for their gradients.
        for head in list(model.decoder.get_submodule("mask").children())[1:]:
            head.requires_grad_(False)
    if model.language is not None:
        model.language.freeze(params.language.frozen)
    checkpoint_activations(model, params.train.activation_checkpointing)
    return model, processor


def _build_loader(
    dataset: ExpressionDataset, train: Train, accelerator: Accelerator
) -> tuple[GroupedBatchSampler, Any]:
    batches = GroupedBatchSampler(
        dataset.rows.group_by_image(),
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
        worker_init_fn=prepare_workers(),
        pin_memory=accelerator.device.type == "cuda",
    )
    return batches, loader


def _warn_of_small_batches(images: float) -> None:
    if images < FEWEST_IMAGES:
        logger.warning(
            "an optimiser step sees %.1f images on average: below %d such models were seen to collapse; "
            "raise train.expressions_per_batch or train.accumulation, or lower train.expressions_per_image",
            images,
            FEWEST_IMAGES,
        )


def _resume(accelerator: Accelerator, path: Path, states: dict[str, Any]) -> tuple[Progress, RngState | None]:
    """Load the last saved state into `states`; in a new training there is none."""
    progress, rng_state = load_state(path, accelerator.process_index, **states)
    if accelerator.num_processes > 1 and len(found := set(gather_object([progress.step]))) > 1:
        raise UserError(
            f"the processes found saved states of different steps ({', '.join(map(str, sorted(found)))}): "
            f"{path.parent} must be one folder that all nodes share"
        )
    if not accelerator.is_main_process:  # the main process alone resumes the sums, which are those of all
        progress.seen, progress.sums = 0, dict.fromkeys(progress.sums, 0.0)
    return progress, rng_state


def _average(model: S2RM, decay: float) -> AveragedModel | None:
    """Return an exponential moving average of the weights and buffers of `model`; None with a decay of 0."""
    if not decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _save(accelerator: Accelerator, writer: StateWriter, progress: Progress, states: dict[str, Any]) -> None:
    """Save the state with the random number generators of all processes; every process must call this."""
    rng_states = gather_object([RngState.now()]) if accelerator.num_processes > 1 else [RngState.now()]
    if accelerator.is_main_process:
        writer.save(progress, rng_states, **states)


def _log_nothing(metrics: dict[str, float], step: int) -> None:
    """Take the place of `log` where nothing is logged."""
