"""The picture tokenizer: where codes belong, what its tokens keep, and that it learns."""

import dataclasses

import pytest
import torch

from mtgen.errors import ConfigError
from mtgen.model.autoencoder import Autoencoder
from mtgen.model.picture_tokenizer import (
    PictureTokenizer,
    PictureTokenizerConfig,
    to_latents,
    to_places,
)
from tests.model.test_autoencoder import TINY as TINY_AUTOENCODER
from tests.model.test_image_expert import TRUNK, prompt

TINY = PictureTokenizerConfig(
    n_layer=2, n_encoder_layer=1, n_embd=48, n_head=6, n_ff=96, trunk_layers=(1, 3), side=4,
    num_codes=2,
)  # fmt: skip


def random_cells(batch=1, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 8, 8, 2), generator=generator).to(torch.uint8)


def tiny_tokenizer(seed=0):
    torch.manual_seed(seed)
    tokenizer = PictureTokenizer(TINY, TRUNK)
    with torch.no_grad():  # some weights start at zero: make everything matter
        for parameter in tokenizer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return tokenizer


def test_places_are_blocks_of_cells_and_their_latents_go_back_where_they_came_from():
    cells = random_cells(3)
    places = to_places(cells, TINY)
    assert places.shape == (3, 16, 8)
    assert places[0, 1].tolist() == cells[0, :2, 2:4].flatten().tolist()
    levels = Autoencoder.to_levels(cells)  # B C h w
    by_place = levels.view(3, 8, 4, 2, 4, 2).permute(0, 2, 4, 3, 5, 1).reshape(3, 16, 32)
    assert torch.equal(to_latents(by_place, TINY), levels)


def test_tokens_are_codes_and_the_decoder_reads_them_and_the_prompt():
    tokenizer = tiny_tokenizer()
    tokens = tokenizer.encode(random_cells(2))
    assert tokens.shape == (2, 16, 2)
    assert tokens.min() >= 0
    assert tokens.max() <= 255
    assert len(tokens.unique()) > 10
    reads, mask = prompt(tokenizer, batch=2)
    latents = tokenizer.decode(tokens, reads, mask)
    assert latents.shape == (2, 8, 8, 8)
    assert latents.abs().max() <= 1.5
    other = tokens.clone()
    other[:, 3] = (other[:, 3] + 5) % 256
    assert not torch.allclose(tokenizer.decode(other, reads, mask), latents, atol=1e-4)
    reads, mask = prompt(tokenizer, batch=2, seed=9)
    assert not torch.allclose(tokenizer.decode(tokens, reads, mask), latents, atol=1e-4)


def test_a_code_that_is_left_out_changes_the_loss_and_the_first_never_is():
    tokenizer = tiny_tokenizer()
    cells = random_cells(2)
    reads, mask = prompt(tokenizer, batch=2)
    whole = tokenizer.loss(cells, reads, mask)
    assert whole.shape == (32,)
    keep = torch.tensor([[True, True], [True, False]])
    part = tokenizer.loss(cells, reads, mask, keep)
    assert torch.equal(part[:16], whole[:16])
    assert not torch.allclose(part[16:], whole[16:], atol=1e-5)


def test_it_learns_one_batch_and_its_latents_come_near_the_true_ones():
    torch.manual_seed(0)
    tokenizer = PictureTokenizer(TINY, TRUNK)
    cells = random_cells(4)
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=1e-2)
    for _ in range(150):
        reads, mask = prompt(tokenizer, batch=4)
        loss = tokenizer.loss(cells, reads, mask).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5  # ln 4 = 1.39 at the start
    reads, mask = prompt(tokenizer, batch=4)
    latents = tokenizer.decode(tokenizer.encode(cells), reads, mask)
    error = (latents - Autoencoder.to_levels(cells)).square().mean()
    assert error < 0.5  # the variance is 1.25


def test_latents_of_tokens_are_drawn_by_the_autoencoder():
    tokenizer = tiny_tokenizer()
    reads, mask = prompt(tokenizer)
    latents = tokenizer.decode(tokenizer.encode(random_cells()), reads, mask)
    pixels = Autoencoder(TINY_AUTOENCODER).render(latents)
    assert pixels.shape[:2] == (1, 3)
    assert pixels.abs().max() <= 1


def test_a_shape_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="n_head=4 is not divisible by the trunk's 3"):
        PictureTokenizer(dataclasses.replace(TINY, n_head=4), TRUNK)
