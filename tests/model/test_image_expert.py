"""The image expert: what it sees, what it does not, and that it learns."""

import dataclasses

import pytest
import torch

from mtgen.errors import ConfigError
from mtgen.model.config import TrunkConfig
from mtgen.model.image_expert import (
    ImageExpert,
    ImageExpertConfig,
    mask_shares,
)

TRUNK = TrunkConfig(
    name="tiny", n_layer=4, n_head=6, n_kv_head=3, head_dim=64, n_embd=96, n_ff=128, vocab_size=99,
    context_length=64, rope_theta=1e4, rms_norm_eps=1e-5, tied_embeddings=True,
)  # fmt: skip
TINY = ImageExpertConfig(
    n_layer=2, n_embd=48, n_head=6, n_ff=96, trunk_layers=(1, 3), side=4, codes_per_place=8,
    n_code_embd=32, n_code_ff=32,
)  # fmt: skip


def tiny_expert(config=TINY):
    torch.manual_seed(0)
    expert = ImageExpert(config, TRUNK)
    with torch.no_grad():  # some weights start at zero: make everything matter
        for parameter in expert.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return expert


def prompt(expert, length=5, batch=1, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 3, length, 64)
    keys_values = {
        layer: tuple(torch.randn(shape, generator=generator) for _ in range(2)) for layer in (1, 3)
    }
    return expert.read_prompt(keys_values), torch.ones(batch, length, dtype=torch.bool)


def random_codes(batch=1, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 16, 8), generator=generator)


def test_the_padding_of_a_prompt_is_not_seen():
    expert = tiny_expert()
    reads, mask = prompt(expert)
    padded = [tuple(torch.nn.functional.pad(x, (0, 0, 0, 3), value=7.0) for x in r) for r in reads]
    known = torch.rand(1, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    inputs = expert.inputs(random_codes(), known)
    plain = expert.states(inputs, reads, mask)
    longer = torch.nn.functional.pad(mask, (0, 3))
    assert torch.allclose(expert.states(inputs, padded, longer), plain, atol=1e-5)
    other = [(k + 0.5, v) for k, v in reads]
    assert not torch.allclose(expert.states(inputs, other, mask), plain, atol=1e-3)


def test_hidden_codes_do_not_leak_and_known_ones_are_seen():
    expert = tiny_expert()
    reads, mask = prompt(expert)
    known = torch.ones(1, 16, dtype=torch.bool)
    known[0, 5] = False
    codes = random_codes()
    plain = expert.states(expert.inputs(codes, known), reads, mask)
    hidden = codes.clone()
    hidden[0, 5] = 0
    assert torch.equal(expert.states(expert.inputs(hidden, known), reads, mask), plain)
    seen = codes.clone()
    seen[0, 6] = (seen[0, 6] + 1) % 256
    assert not torch.equal(
        expert.states(expert.inputs(seen, known), reads, mask)[0, 5], plain[0, 5]
    )


def test_a_code_sees_those_before_it_and_steps_score_as_the_whole_does():
    head = tiny_expert().head
    states = torch.randn(4, TINY.n_embd, generator=torch.Generator().manual_seed(3))
    codes = random_codes()[0, :4]
    scores = head(states, codes)
    assert scores.shape == (8, 4, 256)
    changed = codes.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 256
    again = head(states, changed)
    assert torch.equal(again[:4], scores[:4])
    assert not torch.allclose(again[4:], scores[4:], atol=1e-4)
    start = head.start(states)
    for code in range(8):
        assert torch.allclose(head.step(start, codes[:, :code]), scores[code], atol=1e-4)


def test_masks_hide_as_maskgit_does():
    shares = mask_shares(torch.linspace(0, 1, 10001))
    assert shares[0] == 1
    assert shares[-1].abs() < 1e-6
    assert float(shares.mean()) == pytest.approx(2 / torch.pi, abs=1e-3)


def test_it_learns_one_batch_by_heart():
    torch.manual_seed(0)
    expert = ImageExpert(TINY, TRUNK)
    codes = random_codes(4)
    optimizer = torch.optim.AdamW(expert.parameters(), lr=1e-2)
    known = torch.zeros(4, 16, dtype=torch.bool)
    for _ in range(60):
        reads, mask = prompt(expert, batch=4)
        loss = expert.loss(codes, reads, mask, known).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trunk_layers": (1,)}, "trunk_layers names 1 layers for n_layer=2"),
        ({"n_head": 4}, "n_head=4 is not divisible by the trunk's 3"),
        ({"trunk_layers": (1, 4)}, "trunk_layers names layer 4; the trunk's last is 3"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ImageExpert(dataclasses.replace(TINY, **changes), TRUNK)
