"""Property 5: padding words, batch mates and the grouping of expressions under images change nothing.

In float64, for outputs and gradients, of whole models in evaluation (a backbone's BatchNorm mixes the
images of a training batch); and expressions and images do matter.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from drawn import SWIN, groupings, seeds, values
from hypothesis import given, settings
from hypothesis import strategies as st
from references import EXACT
from torch import Tensor

from s2rm.model.s2rm import S2RM

Build = Callable[..., S2RM]
MODELS = {
    "s2rm": (),
    "gru-cascade": ("fusion.recurrence=gru", "fusion.cascade=bottom_up"),
    "match-one-role": (
        "fusion.state=match",
        "fusion.coparsing=language_to_vision",
        "fusion.rotations=2",
    ),
    "no-balancing": ("fusion.balancing=false", "fusion.rotations=1"),
    "word-query": ("fusion.query=word",),
    "softmax": ("fusion.affinity=softmax", "fusion.refine=false"),
    "softmax-word-query": ("fusion.affinity=softmax", "fusion.query=word"),
    "no-coparsing": ("fusion.coparsing=none", "fusion.distribution=tile", "decoder.kind=fpn"),
    "pwam": ("fusion.kind=pwam",),
    "pwam-word-query": ("fusion.kind=pwam", "fusion.query=word"),
    "concat": ("fusion.kind=concat",),
    "swin": SWIN,
}
few_examples = settings(max_examples=6)


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def model(build_tiny: Build, request: pytest.FixtureRequest) -> S2RM:
    return build_tiny(*request.param)


@dataclass(frozen=True)
class Batch:
    images: Tensor
    token_ids: Tensor
    mask: Tensor
    owners: Tensor

    def of(self, n: int) -> "Batch":
        """Expression n alone, with an image of its own and without padding."""
        owner, words = int(self.owners[n]), int(self.mask[n].sum())
        ids, mask = (tokens[n : n + 1, :words] for tokens in (self.token_ids, self.mask))
        return Batch(self.images[owner : owner + 1], ids, mask, torch.tensor([0]))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    images, owners = draw(groupings())
    lengths = torch.tensor(draw(st.lists(st.integers(1, 8), min_size=len(owners), max_size=len(owners))))
    seed = draw(seeds)
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    token_ids = torch.randint(5, 40, mask.shape, generator=torch.Generator().manual_seed(seed)) * mask
    return Batch(values(images, 3, 64, 64, seed=seed), token_ids, mask, torch.tensor(owners))


def logits(model: S2RM, batch: Batch) -> Tensor:
    return model(batch.images, batch.token_ids, batch.mask, batch.owners).logits


@few_examples
@given(batch=batches(), padding=st.integers(1, 6))
@torch.no_grad()
def test_padding_words_change_nothing(model: S2RM, batch: Batch, padding: int) -> None:
    longer_mask = torch.nn.functional.pad(batch.mask, (0, padding))
    longer_ids = torch.nn.functional.pad(batch.token_ids, (0, padding))
    longer_ids = torch.where(longer_mask == 0, 9, longer_ids)  # not even padding tokens, but masked
    padded = Batch(batch.images, longer_ids, longer_mask, batch.owners)
    expected = logits(model, batch)
    torch.testing.assert_close(logits(model, padded), expected, **EXACT)
    assert expected.std() > 1e-3


@few_examples
@given(batch=batches(), data=st.data())
@torch.no_grad()
def test_batch_mates_grouping_and_order_change_nothing(
    model: S2RM, batch: Batch, data: st.DataObject
) -> None:
    expected = logits(model, batch)
    alone = torch.cat([logits(model, batch.of(n)) for n in range(len(batch.owners))])
    torch.testing.assert_close(alone, expected, **EXACT)
    own_copies = Batch(
        batch.images[batch.owners], batch.token_ids, batch.mask, torch.arange(len(batch.owners))
    )
    torch.testing.assert_close(logits(model, own_copies), expected, **EXACT)
    order = torch.tensor(data.draw(st.permutations(range(len(batch.owners)))))
    places = torch.tensor(data.draw(st.permutations(range(len(batch.images)))))  # image → its new place
    shuffled = Batch(
        batch.images[places.argsort()], batch.token_ids[order], batch.mask[order], places[batch.owners[order]]
    )
    torch.testing.assert_close(logits(model, shuffled), expected[order], **EXACT)


@few_examples
@given(batch=batches(), data=st.data())
def test_a_mask_has_gradients_by_its_own_image_only_and_as_if_alone(
    model: S2RM, batch: Batch, data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, len(batch.owners) - 1))
    upstream = values(1, 64, 64, seed=n)
    own = batch.of(n)
    for images in (batch.images, own.images):
        images.requires_grad_()
    found = torch.autograd.grad(logits(model, batch)[n], batch.images, upstream)[0]
    wanted = torch.autograd.grad(logits(model, own)[0], own.images, upstream)[0]
    owner = int(batch.owners[n])
    torch.testing.assert_close(found[owner], wanted[0], **EXACT)
    assert found[owner].any()
    assert not found[torch.arange(len(found)) != owner].any()


@few_examples
@given(batch=batches())
@torch.no_grad()
def test_words_and_images_do_matter(model: S2RM, batch: Batch) -> None:
    expected = logits(model, batch)
    other_words = batch.token_ids.where(batch.mask == 0, batch.token_ids + 1)
    changed = (
        Batch(batch.images, other_words, batch.mask, batch.owners),
        Batch(batch.images.flip(2), batch.token_ids, batch.mask, batch.owners),
    )
    for other in changed:
        assert ((logits(model, other) - expected).flatten(1).abs().amax(1) > 1e-6).all()


@pytest.fixture(scope="module")
def batch() -> Batch:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    token_ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0], [11, 12, 13, 0]])
    return Batch(values(2, 3, 64, 64, seed=0), token_ids, mask, torch.tensor([0, 0, 1]))


@torch.no_grad()
def test_an_image_is_encoded_once_for_all_of_its_expressions(build_tiny: Build, batch: Batch) -> None:
    model = build_tiny()
    seen: list[int] = []
    model.vision.backbone.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    expected = logits(model, batch)
    assert seen == [2]
    maps = model.encode_images(batch.images)
    language = model.encode_expressions(batch.token_ids, batch.mask)
    found = model.segment(maps, language, batch.owners, (64, 64)).logits
    torch.testing.assert_close(found, expected, **EXACT)


@torch.no_grad()
def test_the_control_is_blind_to_language(build_tiny: Build, batch: Batch) -> None:
    model = build_tiny("fusion.kind=none")
    assert model.language is None
    assert not [name for name, _ in model.named_parameters() if "bert" in name or "language" in name]
    blind = logits(model, batch)
    assert torch.equal(blind[0], blind[1])
    other_words = Batch(batch.images, batch.token_ids.flip(0), batch.mask, batch.owners)
    assert torch.equal(blind, logits(model, other_words))
    assert not torch.allclose(blind[0], blind[2])
