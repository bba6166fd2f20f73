"""How soon a fusion learns relations along rows and columns, when there is nothing else to learn.

    python benchmarks/relations.py -S fusion.state=generator --seed 1

One fusion module with the parameters of a preset is trained on a lattice of things whose colours and shapes
are its input, without a backbone and without BERT: "the red thing in the row of the blue star". The head that
predicts the mask sees one position at a time, so information crosses the lattice in the fusion only. This
takes minutes on one core where a training of the ablation study takes hours, and separates variants of the
recurrence before they are trained.

It prints the mIoU per relation after each eighth of the steps. A fusion that cannot relate stays at the mIoU
that attributes alone achieve.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import describe_machine
from torch import Tensor, nn

from s2rm.config.load import load_params
from s2rm.config.params import Loss
from s2rm.core.errors import exit_on_user_error
from s2rm.model.build import build_fusion
from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.encoders.vision import coordinate_map
from s2rm.training.loss import mask_loss

LINES, ATTRIBUTES, FULL = 5, 4, 0.85  # rows and columns; colours, and shapes; share of positions occupied
WIDTH, LANGUAGE, STAGE, BATCH, HELD_OUT = 32, 64, 2, 64, 1000
PAD, START, THING, COLOUR, SHAPE, RELATION = 0, 1, 2, 3, 7, 11  # token ids; the last three start a range
RELATIONS = ("described", "row", "column", "left", "right", "above", "below")
TOKENS = RELATION + len(RELATIONS)


def sample(count: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw lattices with one expression each.

    Args:
        count: number of lattices.
        random: the source of randomness.

    Returns:
        Things (count, 8, 5, 5), token ids (count, 6), masks (count, 1, 5, 5), relations (count,).
    """
    shape = (count, LINES, LINES)
    taken = torch.rand(shape, generator=random) < FULL
    colour, form = (torch.randint(0, ATTRIBUTES, shape, generator=random) for _ in range(2))
    each = torch.arange(count)
    row, column = _pick(taken, random)
    anchor = torch.zeros(shape, dtype=torch.bool)
    anchor[each, row, column] = True
    alike = (colour == colour[anchor].view(-1, 1, 1)) & (form == form[anchor].view(-1, 1, 1))
    taken = (taken & ~alike) | anchor  # the anchor is unique
    rows, columns = torch.arange(LINES)[None, :, None], torch.arange(LINES)[None, None]
    y, x = row.view(-1, 1, 1), column.view(-1, 1, 1)
    conditions = (rows >= 0, rows == y, columns == x, columns < x, columns > x, rows < y, rows > y)
    relation = torch.randint(0, len(RELATIONS), (count,), generator=random)
    related = torch.stack([condition.expand(shape) for condition in conditions], 1)[each, relation]
    described = relation == 0
    meant = related & taken & (described.view(-1, 1, 1) | ~anchor)
    row, column = _pick(meant, random)
    way = torch.randint(0, 3, (count,), generator=random)  # named by colour, by shape, by both
    by_colour, by_form = way != 1, way != 0
    head_colour, head_form = colour[each, row, column], form[each, row, column]
    meant &= (colour == head_colour.view(-1, 1, 1)) | ~by_colour.view(-1, 1, 1)
    meant &= (form == head_form.view(-1, 1, 1)) | ~by_form.view(-1, 1, 1)
    words = [
        torch.full((count,), START),
        torch.where(by_colour, COLOUR + head_colour, PAD),
        torch.where(by_form, SHAPE + head_form, THING),
        RELATION + relation,
        torch.where(described, PAD, COLOUR + colour[anchor]),
        torch.where(described, PAD, SHAPE + form[anchor]),
    ]
    things = torch.cat([F.one_hot(colour, ATTRIBUTES), F.one_hot(form, ATTRIBUTES)], -1) * taken[..., None]
    return things.permute(0, 3, 1, 2).float(), torch.stack(words, 1), meant[:, None], relation


def _pick(allowed: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pick a random position of each lattice, an allowed one where one exists: rows (n,), columns (n,)."""
    order = torch.rand(allowed.shape, generator=random) + allowed
    position = order.flatten(1).argmax(1)
    return position // LINES, position % LINES


class RelationModel(nn.Module):
    """One transformer layer on the words, the fusion, and a head of 1×1 convolutions."""

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion
        self.word = nn.Embedding(TOKENS, LANGUAGE)
        self.position = nn.Parameter(torch.randn(6, LANGUAGE) / 2)
        self.encoder = nn.TransformerEncoderLayer(LANGUAGE, 4, 2 * LANGUAGE, 0.0, batch_first=True)
        self.vision = nn.Sequential(nn.Conv2d(2 * ATTRIBUTES + 2, 64, 1), nn.ReLU(), nn.Conv2d(64, WIDTH, 1))
        self.head = nn.Sequential(
            nn.Conv2d(WIDTH, 64, 1), nn.ReLU(), nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1)
        )

    def forward(self, things: Tensor, token_ids: Tensor) -> Tensor:
        """Predict the masks, (n, 1, 5, 5) logits."""
        mask = token_ids != PAD
        words = self.encoder(self.word(token_ids) + self.position, src_key_padding_mask=~mask)
        sentence = (words * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        coordinates = coordinate_map(things).expand(len(things), -1, -1, -1)
        vision = self.vision(torch.cat([things, coordinates], 1))
        language = LanguageFeatures(words=words, word_mask=mask, sentence=sentence)
        return self.head(self.fusion(vision, language, torch.arange(len(things))))


@torch.no_grad()
def evaluate(model: RelationModel, held_out: tuple[Tensor, ...]) -> dict[str, float]:
    """Return the mIoU in percent by relation, over the expressions that have a referent."""
    things, token_ids, masks, relation = held_out
    predicted = model.eval()(things, token_ids) > 0
    model.train()
    union = (predicted | masks).sum((1, 2, 3))
    iou = (predicted & masks).sum((1, 2, 3)) / union.clamp_min(1)
    some = masks.flatten(1).any(1)
    return {
        name: round(100 * iou[some & (relation == number)].mean().item(), 1)
        for number, name in enumerate(RELATIONS)
    }


def main() -> None:
    """Train, and print the learning curve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("presets/study.yaml"),
        help="parameter file (default: %(default)s)",
    )
    parser.add_argument(
        "-S",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a parameter; may be repeated",
    )
    parser.add_argument(
        "--steps", type=int, default=1500, help=f"steps of {BATCH} expressions each (default: 1500)"
    )
    parser.add_argument("--rate", type=float, default=0.004, help="highest learning rate (default: 0.004)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    params = load_params(arguments.params, arguments.overrides)
    model = RelationModel(build_fusion(params.fusion, STAGE, WIDTH, LANGUAGE))
    optimiser = torch.optim.AdamW(model.parameters(), arguments.rate, (0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 100, (1 - step / arguments.steps) ** 0.9)
    )
    random = torch.Generator().manual_seed(arguments.seed)
    held_out = sample(HELD_OUT, torch.Generator().manual_seed(-1))
    loss_weights = Loss(bce=1.0, dice=1.0, auxiliary=0.0)
    curve, started = [], time.process_time()
    for step in range(1, arguments.steps + 1):
        things, token_ids, masks, _ = sample(BATCH, random)
        loss = mask_loss(model(things, token_ids), masks.float(), loss_weights)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % max(1, arguments.steps // 8) == 0:
            curve.append({"expressions": step * BATCH, **evaluate(model, held_out)})
            if not arguments.json:
                print("  ".join(f"{name} {value:g}" for name, value in curve[-1].items()), flush=True)
    if arguments.json:
        seconds = round(time.process_time() - started)
        overrides = {"overrides": arguments.overrides, "seed": arguments.seed, "rate": arguments.rate}
        print(
            json.dumps({**describe_machine(), **overrides, "cpu_seconds": seconds, "curve": curve}, indent=2)
        )


if __name__ == "__main__":
    exit_on_user_error(main)
