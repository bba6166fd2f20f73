"""Define the parameters of the network: encoders, fusion and decoder.

The defaults are the full method at the paper's scale.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from s2rm.config.section import Fraction, Positive, Section

# Arguments of `timm.create_model` that are not free to choose, and what to set instead.
FIXED_OPTIONS = {
    "pretrained": "set vision.pretrained",
    "checkpoint_path": "set vision.pretrained",
    "pretrained_cfg": "set vision.backbone to a name with its weights, as resnet50.a1_in1k",
    "pretrained_cfg_overlay": "set vision.backbone to a name with its weights, as resnet50.a1_in1k",
    "features_only": "leave it out",
    "in_chans": "leave it out, images have 3 channels",
    "cache_dir": "set $HF_HOME",
}

Stage = Literal[1, 2, 3, 4]
Width = Annotated[int, Field(ge=8, multiple_of=8)]  # normalised in groups of 8 channels


class Vision(Section):
    """The vision encoder and its input images."""

    backbone: str = "swin_base_patch4_window12_384.ms_in22k"
    """Name of a timm backbone with features at strides 4, 8, 16 and 32."""
    pretrained: bool = True
    """Whether the backbone starts from its published weights."""
    options: dict[str, Any] = Field(default={"drop_path_rate": 0.3})
    """Further keyword arguments of `timm.create_model`."""
    image_size: Annotated[int, Field(ge=32, multiple_of=16)] = 480
    """Side of the square that every image is resized to, in pixels."""
    coordinates: bool = True
    """Whether the coordinates of its pixels are added to each projected map."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in self.options.keys() & FIXED_OPTIONS.keys():
            raise ValueError(f"vision.options.{key} cannot be set: {FIXED_OPTIONS[key]}")
        return self


class Language(Section):
    """The language encoder and its tokenizer."""

    pretrained: str | None = "google-bert/bert-base-uncased"
    """BERT, RoBERTa, DistilBERT or CLIP on the Hub, or its folder; null builds a small BERT from scratch."""
    frozen: Annotated[int, Field(ge=0)] = 0
    """Number of its first layers that are not trained, with the embeddings; 0 trains all."""
    tokens: Annotated[int, Field(ge=4, le=512)] = 20
    """Length at which expressions are truncated, in tokens with [CLS] and [SEP] (`max_length` elsewhere)."""
    vocabulary: Annotated[int, Field(ge=100)] = 30522
    """Size of the WordPiece vocabulary, trained on the training split (only if `pretrained` is null)."""
    hidden: Positive = 768
    """Width of the BERT from scratch; a multiple of `heads` (only if `pretrained` is null)."""
    layers: Positive = 12
    """Number of layers of the BERT from scratch (only if `pretrained` is null)."""
    heads: Positive = 12
    """Number of attention heads of the BERT from scratch (only if `pretrained` is null)."""
    dropout: Fraction = 0.1
    """Dropout probability of the BERT from scratch (only if `pretrained` is null)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(
                f"language.hidden is {self.hidden}: it must be a multiple of language.heads={self.heads}"
            )
        return self


class Fusion(Section):
    """The fusion of language into the vision maps of the four stages."""

    kind: Literal["s2rm", "pwam", "concat", "none"] = "s2rm"
    """Fusion module: S²RM, or a baseline (pixel-word attention, concatenation); none is blind to language."""
    widths: list[Width] = Field(default=[64, 256, 256, 256], min_length=4, max_length=4)
    """Channels of the maps at strides 4, 8, 16 and 32."""
    stages: list[Stage] = Field(default=[1, 2, 3, 4], min_length=1)
    """Which stages are fused, each at most once; stage 1 has stride 4, stage 4 has stride 32."""
    distribution: Literal["attention", "tile"] = "attention"
    """How positions receive language: by attention over the words, or the sentence vector everywhere."""
    query: Literal["sentence", "word"] = "sentence"
    """What modulates the vision map that queries the words."""
    affinity: Literal["sigmoid", "softmax"] = "sigmoid"
    """Affinity of a position and a word: each for itself, or competing with the other words."""
    refine: bool = True
    """Whether the distributed language is refined position by position with the vision map."""
    coordinates: bool = False
    """Whether the coordinates of its pixels are added to the map that queries the words."""
    coparsing: Literal["both", "language_to_vision", "vision_to_language", "none"] = "both"
    """Roles of the two contexts: `language_to_vision` sweeps the language map and parses the vision map."""
    rotations: Literal[4, 2, 1] = 4
    """Number of sweeps per role: by 0°, 90°, 180° and 270°; by 0° and 90°; or by 0°."""
    state: Literal["generator", "match"] = "generator"
    """What the recurrence carries: the swept context alone, or what it has in common with the parsed one."""
    recurrence: Literal["scan", "gru"] = "scan"
    """Recurrence over the slices: a gated linear scan, or torch's GRU."""
    slice_kernel: Positive = 3
    """Size of the convolution along a slice, in positions; odd."""
    balancing: bool = True
    """Whether the parsed semantics are weighted by self-distilled weights; false takes their mean."""
    cascade: Literal["none", "bottom_up"] = "none"
    """Whether a stage's fused map is added to the vision map of the next coarser stage before its fusion."""

    @property
    def parsed_semantics(self) -> int:
        """Number of parsed semantics per stage: roles × rotations (0 without coparsing)."""
        return {"both": 2, "none": 0}.get(self.coparsing, 1) * self.rotations

    @property
    def why_no_weights(self) -> str | None:
        """The switch that leaves a model without balancing weights; None where it has them."""
        if self.kind != "s2rm":
            return f"fusion.kind={self.kind} parses no semantics"
        if self.coparsing == "none":
            return "fusion.coparsing=none parses no semantics"
        return None if self.balancing else "fusion.balancing=false takes the plain mean"

    @property
    def why_no_gates(self) -> str | None:
        """The switch that leaves a model without update gates or weights; None where it has both."""
        if self.recurrence == "gru" and self.why_no_weights is None:
            return "fusion.recurrence=gru keeps its gates inside torch"
        return self.why_no_weights

    @property
    def why_no_words(self) -> str | None:
        """The switch that leaves a model without affinities of words; None where it has them."""
        if self.kind in ("concat", "none"):
            return f"fusion.kind={self.kind} distributes no words"
        if self.distribution == "tile":
            return "fusion.distribution=tile distributes the sentence, not its words"
        return None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.slice_kernel % 2 == 0:
            raise ValueError(f"fusion.slice_kernel is {self.slice_kernel}: it must be odd")
        if len(set(self.stages)) < len(self.stages):
            raise ValueError(f"fusion.stages is {self.stages}: list each stage once")
        if self.kind == "s2rm" and self.balancing and self.parsed_semantics == 1:
            raise ValueError(
                f"fusion.balancing is true, but fusion.coparsing={self.coparsing} with "
                "fusion.rotations=1 leaves a single parsed semantic: nothing to balance; set "
                "fusion.balancing=false"
            )
        return self


class Decoder(Section):
    """The decoder from the fused maps to the mask."""

    kind: Literal["casg", "fpn"] = "casg"
    """Decoder: CASG, or a feature pyramid without guidance."""
    width: Width = 128
    """Channels of the decoder's maps."""
    language_guidance: bool = True
    """Whether the sentence guides the stages."""
    foreground_guidance: bool = True
    """Whether the foreground that the coarser stage predicts guides the stages."""
