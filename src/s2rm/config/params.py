"""The parameters: typed, and checked before any work (`params.yaml` holds and explains them).

`load_params(path)` reads the file; a fault is a `UserError` of one line that names the key, what
was given and what is allowed.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from s2rm.config.benchmarks import STRUCTURED, BenchmarkName, Source
from s2rm.config.switches import refuse_idle_switches
from s2rm.core.errors import UserError

Stage = Literal[1, 2, 3, 4]
Positive = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=8, multiple_of=8)]  # normalised in groups of 8 channels
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of params.yaml: unknown keys and silent type conversions are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RefShapes(Section):
    seed: int
    train_images: Positive
    eval_images: Positive
    structured_train_images: Positive
    structured_eval_images: Positive


class Data(Section):
    source: Source
    catalog: str
    referit: Literal["refer", "queries"]
    keep_archives: bool
    folder: str | None
    benchmarks: list[BenchmarkName] = Field(min_length=1)
    refshapes: RefShapes

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "folder" and not self.folder:
            raise ValueError("data.folder is null: data.source=folder needs the path of a REFER data folder")
        if self.source != "refshapes" and STRUCTURED.name in self.benchmarks:
            raise ValueError(
                f"data.benchmarks has {STRUCTURED.name}, which is drawn, but data.source is {self.source}: "
                "leave it out, or set data.source=refshapes"
            )
        return self


class Preprocess(Section):
    sentence: Literal["sent", "raw"]
    faults: Literal["repair", "refuse"]
    statistics: Literal["refuse", "warn"]


class Run(Section):
    train_on: list[BenchmarkName] = Field(min_length=1)
    evaluate_on: list[BenchmarkName] = Field(min_length=1)


class Vision(Section):
    backbone: str
    pretrained: bool
    options: dict[str, Any]
    image_size: Annotated[int, Field(ge=32, multiple_of=16)]
    coordinates: bool


class Language(Section):
    pretrained: str | None
    tokens: Annotated[int, Field(ge=4, le=512)]
    vocabulary: Annotated[int, Field(ge=100)]
    hidden: Positive
    layers: Positive
    heads: Positive
    dropout: Fraction

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(
                f"language.hidden is {self.hidden}: it must be a multiple of language.heads={self.heads}"
            )
        return self


class Fusion(Section):
    kind: Literal["s2rm", "pwam", "concat", "none"]
    widths: list[Width] = Field(min_length=4, max_length=4)
    stages: list[Stage] = Field(min_length=1)
    distribution: Literal["attention", "tile"]
    query: Literal["sentence", "word"]
    coparsing: Literal["both", "language_to_vision", "vision_to_language", "none"]
    rotations: Literal[4, 2, 1]
    state: Literal["generator", "match"]
    recurrence: Literal["scan", "gru"]
    slice_kernel: Positive
    balancing: bool
    cascade: Literal["none", "bottom_up"]

    @property
    def parsed_semantics(self) -> int:
        """How many parsed semantics a stage has: roles × rotations (0 without coparsing)."""
        return {"both": 2, "none": 0}.get(self.coparsing, 1) * self.rotations

    @property
    def why_no_weights(self) -> str | None:
        """Name the switch that leaves a model without balancing weights; None where it has them."""
        if self.kind != "s2rm":
            return f"fusion.kind={self.kind} parses no semantics"
        if self.coparsing == "none":
            return "fusion.coparsing=none parses no semantics"
        return None if self.balancing else "fusion.balancing=false takes the plain mean"

    @property
    def why_no_gates(self) -> str | None:
        """Name the switch that leaves a model without update gates or weights; None where it has both."""
        if self.recurrence == "gru" and self.why_no_weights is None:
            return "fusion.recurrence=gru keeps its gates inside of torch"
        return self.why_no_weights

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.slice_kernel % 2 == 0:
            raise ValueError(f"fusion.slice_kernel is {self.slice_kernel}: it must be odd")
        if len(set(self.stages)) < len(self.stages):
            raise ValueError(f"fusion.stages is {self.stages}: each stage once")
        if self.kind == "s2rm" and self.balancing and self.parsed_semantics == 1:
            raise ValueError(
                f"fusion.balancing is true, but fusion.coparsing={self.coparsing} with "
                "fusion.rotations=1 leaves a single parsed semantic: nothing to balance; set "
                "fusion.balancing=false"
            )
        return self


class Decoder(Section):
    kind: Literal["casg", "fpn"]
    width: Width
    language_guidance: bool
    foreground_guidance: bool


class Loss(Section):
    bce: Annotated[float, Field(ge=0)]
    dice: Annotated[float, Field(ge=0)]
    auxiliary: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bce + self.dice == 0:
            raise ValueError("loss.bce is 0 and loss.dice is 0: one of them must be positive")
        return self


class Train(Section):
    seed: int
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["float32", "bf16"]
    epochs: Positive
    drop_evaluated: bool
    expressions_per_batch: Positive
    expressions_per_image: Positive
    accumulation: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    encoder_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup: Fraction
    power: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)]
    validate_every: Positive
    save_every: Positive
    select_by: Literal["mIoU", "oIoU"]
    workers: Annotated[int, Field(ge=0)]
    activation_checkpointing: bool
    deterministic: bool
    log_every: Positive


class Evaluate(Section):
    images_per_batch: Positive
    threshold: Annotated[float, Field(gt=0, lt=1)]
    precision: Literal["float32", "bf16"]
    workers: Annotated[int, Field(ge=0)]
    examples: Annotated[int, Field(ge=0)]


class Report(Section):
    decimals: Annotated[int, Field(ge=0, le=4)]
    methods: list[str]


class Tracking(Section):
    enabled: bool
    experiment: str


class Params(Section):
    data: Data
    preprocess: Preprocess
    runs: dict[str, Run] = Field(min_length=1)
    vision: Vision
    language: Language
    fusion: Fusion
    decoder: Decoder
    loss: Loss
    train: Train
    evaluate: Evaluate
    report: Report
    tracking: Tracking

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, run in self.runs.items():
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(
                    f"runs.{name} is no name for files and metrics: letters, digits, '_' and '-' only"
                )
            for key, wanted in (("train_on", run.train_on), ("evaluate_on", run.evaluate_on)):
                missing = [benchmark for benchmark in wanted if benchmark not in self.data.benchmarks]
                if missing:
                    raise ValueError(
                        f"runs.{name}.{key} is {wanted}, but data.benchmarks lacks {', '.join(missing)}"
                    )
        sections = {"fusion": self.fusion, "decoder": self.decoder}
        refuse_idle_switches(
            {f"{name}.{key}": value for name, section in sections.items() for key, value in section}
        )
        return self

    def get_run(self, name: str) -> Run:
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
