"""Define all parameters of the pipeline as typed sections, checked before any work.

`params.yaml` holds their values and `s2rm.config.load.load_params` reads it; a parameter file is always
complete. The defaults here are for use as a library: the sections of the network, the loss, the training
and the evaluation default to the full method at the paper's scale (presets/paper.yaml), the others to the
values of params.yaml.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from s2rm.config.benchmarks import BENCHMARKS, DRAWN_ONLY, BenchmarkName, Source
from s2rm.config.naming import check_experiment_name, check_run_names, refuse_repeated
from s2rm.config.network import Decoder, Fusion, Language, Vision
from s2rm.config.section import Fraction, Positive, Precision, Section, TrainPrecision, Weight
from s2rm.config.switches import refuse_idle_switches
from s2rm.core.errors import UserError

REAL_BENCHMARKS = cast("list[BenchmarkName]", list(BENCHMARKS))


class RefShapes(Section):
    """The embedded data, which this project draws."""

    seed: int = 7
    """Seed of the scenes and expressions."""
    train_images: Positive = 900
    """Number of images in the train split of each benchmark."""
    eval_images: Positive = 80
    """Number of images in each evaluation split of each benchmark."""
    structured_train_images: Positive = 4000
    """Number of images in the train split of refshapes_structured."""
    structured_eval_images: Positive = 250
    """Number of images in the val split of refshapes_structured."""
    two_hops_train_images: Positive = 4000
    """Number of images in the train split of refshapes_two_hops."""
    two_hops_eval_images: Positive = 250
    """Number of images in the val split of refshapes_two_hops."""


class Data(Section):
    """The benchmarks and the origin of their data."""

    source: Source = "refshapes"
    """Origin of the data: drawn by this project, downloaded, or a folder of real data that you have."""
    catalog: str = "archives.yaml"
    """File that lists every archive with its mirrors and checksum (only if `source` is archives)."""
    referit: Literal["refer", "queries"] = "refer"
    """Files that ReferIt is read from: refclef.zip, or the original query lists and .mat masks."""
    keep_archives: bool = False
    """Whether the image archives are kept after their images are packed (only if `source` is archives)."""
    folder: str | None = None
    """Folder of data in the REFER layout (only if `source` is folder); `$S2RM_REAL_DATA` overrides it."""
    benchmarks: list[BenchmarkName] = Field(default=REAL_BENCHMARKS, min_length=1)
    """The benchmarks to prepare; refshapes_structured and refshapes_two_hops exist as drawn data only."""
    refshapes: RefShapes = RefShapes()
    """Size and seed of the embedded data (only if `source` is refshapes)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "folder" and not self.folder:
            raise ValueError("data.folder is null: data.source=folder needs the path of a REFER data folder")
        drawn = [name for name in self.benchmarks if name in DRAWN_ONLY]
        if self.source != "refshapes" and drawn:
            raise ValueError(
                f"data.benchmarks has {drawn[0]}, which is drawn, but data.source is {self.source}: "
                "leave it out, or set data.source=refshapes"
            )
        return self


class Preprocess(Section):
    """How raw REFER data become one table of expressions per benchmark."""

    sentence: Literal["sent", "raw"] = "sent"
    """Text of an expression: the cleaned sentence, or the sentence as it was typed."""
    faults: Literal["repair", "refuse"] = "repair"
    """What to do with faulty records: repair or leave out by rule and report them, or stop."""
    statistics: Literal["refuse", "warn"] = "refuse"
    """What to do with counts that differ from the official ones (real data only): stop, or warn."""


class Run(Section):
    """One trained model; its name stands in files, metrics and MLflow."""

    train_on: list[BenchmarkName] = Field(default=REAL_BENCHMARKS, min_length=1)
    """The benchmarks whose train splits it learns from; their val splits select its best checkpoint."""
    evaluate_on: list[BenchmarkName] = Field(default=REAL_BENCHMARKS, min_length=1)
    """The benchmarks whose evaluation splits it is scored on."""


class Loss(Section):
    """The weights of the parts of the loss."""

    bce: Weight = 1.0
    """Weight of the binary cross-entropy."""
    dice: Weight = 1.0
    """Weight of the Dice loss; `bce` or `dice` must be positive."""
    auxiliary: Weight = 0.4
    """Weight of the same loss on the coarse masks; 0 switches it off."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bce + self.dice == 0:
            raise ValueError("loss.bce is 0 and loss.dice is 0: one of them must be positive")
        return self


class Train(Section):
    """The training of each run."""

    seed: int = 1
    """Seed of the initial weights, the order of the expressions and dropout."""
    device: Literal["auto", "cpu", "cuda"] = "cuda"
    """Device to train on; auto takes a GPU where there is one."""
    precision: TrainPrecision = "bf16"
    """Precision of the forward and backward passes; bf16 and fp16 are mixed, fp16 for GPUs without bf16."""
    compile: bool = False
    """Whether torch.compile compiles the model; it needs a C++ compiler."""
    epochs: Positive = 40
    """Number of passes over the training expressions."""
    drop_evaluated: bool = True
    """Whether a training on several benchmarks drops all images of evaluation splits (decontamination)."""
    with_val: list[BenchmarkName] = Field(default=[])
    """Benchmarks whose val split is trained on too (papers do so for ReferIt) and selects no checkpoint."""
    image_masking: Fraction = 0.0
    """Share of an image's patches (32×32 pixels) that are hidden in a second look at each batch (MaskRIS)."""
    text_masking: Fraction = 0.0
    """Share of the tokens that are hidden in it; unless both are 0, a step costs twice as much."""
    expressions_per_batch: Positive = 96
    """Expressions per batch, over all processes (`batch_size` elsewhere)."""
    expressions_per_image: Positive = 3
    """Most expressions of one image that are batched together, so that the image is encoded once for them."""
    accumulation: Positive = 1
    """Batches per optimiser step (`gradient_accumulation_steps` elsewhere)."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.0002
    """Peak learning rate of AdamW."""
    vision_rate: Annotated[float, Field(gt=0)] = 0.25
    """Factor on the learning rate for the vision backbone."""
    language_rate: Annotated[float, Field(gt=0)] = 0.1
    """Factor on the learning rate for the text encoder."""
    weight_decay: Weight = 0.01
    """Weight decay of AdamW; norms, biases, scalars, embeddings and tables of positions have none."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of an exponential moving average of the weights, which is validated and kept; 0: none."""
    warmup: Fraction = 0.05
    """Share of all optimiser steps in the linear warm-up (`warmup_ratio` elsewhere)."""
    power: Weight = 0.9
    """Exponent of the polynomial decay of the learning rate (`lr_power` elsewhere)."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient; a larger one is clipped to it (`max_grad_norm` elsewhere)."""
    validate_every: Positive = 1
    """Epochs between validations; the last epoch is always validated."""
    save_minutes: Annotated[float, Field(ge=0)] = 15.0
    """Minutes between saved training states; one is also saved at each validation."""
    select_by: Literal["mIoU", "oIoU"] = "oIoU"
    """Metric whose mean over the val splits selects the best checkpoint."""
    workers: Annotated[int, Field(ge=0)] = 8
    """Number of data-loader processes (`num_workers` elsewhere); 0 loads in the training process."""
    activation_checkpointing: Literal["none", "head", "all"] = "all"
    """What recomputes activations in the backward pass: nothing, fusion and decoder, or the backbone too."""
    deterministic: bool = False
    """Whether torch is asked for deterministic kernels, which can be slower on a GPU."""
    log_every: Positive = 20
    """Optimiser steps between logged metrics."""


# What decides speed, memory and records, but not what is learnt: an unfinished training goes on when these
# change, and a finished one is not repeated. (Another device or number of processes rounds differently.)
MACHINE = (
    "train.device",
    "train.save_minutes",
    "train.workers",
    "train.activation_checkpointing",
    "train.log_every",
    "evaluate.workers",
)


class Evaluate(Section):
    """The evaluation of each run."""

    images_per_batch: Positive = 32
    """Images per batch, each with all of its expressions."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability above which a pixel belongs to the mask."""
    precision: Precision = "bf16"
    """Precision of the forward pass; bf16 is mixed precision."""
    compile: bool = False
    """Whether torch.compile compiles the model; it needs a C++ compiler."""
    workers: Annotated[int, Field(ge=0)] = 8
    """Number of data-loader processes (`num_workers` elsewhere); 0 loads in the main process."""
    examples: Annotated[int, Field(ge=0)] = 1
    """Number of examples per split that are kept for the report, at even quantiles of IoU (1: the median)."""


class Report(Section):
    """The tables, the figures and the page."""

    decimals: Annotated[int, Field(ge=0, le=4)] = 2
    """Number of decimals in the tables."""
    methods: list[str] = Field(default=[])
    """Published methods to list in the tables; an empty list means all."""


class Tracking(Section):
    """The records in MLflow."""

    enabled: bool = True
    """Whether trainings and evaluations are recorded in MLflow."""
    experiment: str = "s2rm"
    """Name of the MLflow experiment; `$MLFLOW_TRACKING_URI` selects another store."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_experiment_name(self.experiment)
        return self


class Params(Section):
    """All parameters of the pipeline."""

    data: Data = Data()
    preprocess: Preprocess = Preprocess()
    runs: dict[str, Run] = Field(default={"joint": Run()}, min_length=1)
    """The models to train, each by a name of your choice."""
    vision: Vision = Vision()
    language: Language = Language()
    fusion: Fusion = Fusion()
    decoder: Decoder = Decoder()
    loss: Loss = Loss()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_repeated("data.benchmarks", self.data.benchmarks)
        check_run_names(self.runs)
        for name, run in self.runs.items():
            for key, wanted in (("train_on", run.train_on), ("evaluate_on", run.evaluate_on)):
                refuse_repeated(f"runs.{name}.{key}", wanted)
                missing = [benchmark for benchmark in wanted if benchmark not in self.data.benchmarks]
                if missing:
                    raise ValueError(
                        f"runs.{name}.{key} is {wanted}, but data.benchmarks lacks {', '.join(missing)}"
                    )
        refuse_idle_switches(self.fusion, self.decoder)
        return self

    def get_run(self, name: str) -> Run:
        """Return the run with this name.

        Raises:
            UserError: the name is unknown; the message lists the known ones.
        """
        if name not in self.runs:
            raise UserError(f"unknown run {name!r}: params.yaml has {', '.join(self.runs)}")
        return self.runs[name]

    def flatten(self) -> dict[str, Any]:
        """Return every parameter by its full key, as `fusion.kind`."""
        return flatten(self.model_dump())


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join the keys of nested mappings: {"fusion": {"kind": "s2rm"}} becomes {"fusion.kind": "s2rm"}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
