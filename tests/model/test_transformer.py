"""The differentiable trunk against the runtime."""

import pytest
import torch

from mtgen.engine import LlamaRuntime
from mtgen.errors import ConfigError
from mtgen.model.transformer import LowRankConfig, LowRankExpert, TrunkModel
from mtgen.tasks.image import unrotated
from tests.conftest import save_tiny

IDS = torch.tensor([5, 77, 90, 12, 3, 8, 44])


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_tiny(folder, request.param, tie_word_embeddings=request.param == "llama")
    return folder


def test_it_scores_as_the_runtime_does_and_padding_changes_nothing(folder):
    trunk, runtime = TrunkModel.from_dir(folder), LlamaRuntime(folder, "float32")
    cache = runtime.new_cache(len(IDS))
    expected = runtime.forward(IDS, cache, all_logits=True)
    batch = torch.zeros(2, 9, dtype=torch.int64)
    batch[0, :7], batch[1, :3] = IDS, IDS[:3]
    out = trunk(batch, collect=[1])
    assert torch.allclose(trunk.logits(out.hidden[0, :7]), expected, atol=1e-3)
    assert torch.allclose(trunk.logits(out.hidden[1, :3]), expected[:3], atol=1e-3)
    keys, values = out.keys_values[1]
    assert torch.allclose(keys[:1, :, :7], unrotated(cache, 1, runtime), atol=1e-4)
    assert torch.allclose(values[:1, :, :7], cache.read(1, 7)[1], atol=1e-4)


def test_a_low_rank_expert_starts_as_nothing_and_then_learns_alone(folder):
    trunk = TrunkModel.from_dir(folder)
    expert = LowRankExpert(LowRankConfig(rank=2), trunk.config)
    plain = trunk(IDS[None]).hidden
    assert torch.equal(trunk(IDS[None], expert=expert).hidden, plain)
    trunk(IDS[None], expert=expert).hidden.sum().backward()
    assert all(p.grad is not None for p in expert.up.values())
    assert not any(p.requires_grad for p in trunk.parameters())
    with torch.no_grad():
        next(iter(expert.up.values())).add_(0.1)
    assert not torch.equal(trunk(IDS[None], expert=expert).hidden, plain)


def test_layers_after_the_last_that_is_read_do_not_run(folder):
    trunk = TrunkModel.from_dir(folder)
    whole = trunk(IDS[None], collect=[0])
    part = trunk(IDS[None], collect=[0], stop_after=0)
    assert torch.equal(part.keys_values[0][0], whole.keys_values[0][0])
    assert not torch.equal(part.hidden, whole.hidden)


def test_a_low_rank_config_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="rank=0 must be at least 1"):
        LowRankConfig(rank=0)
    with pytest.raises(ConfigError, match="matrices"):
        LowRankConfig(matrices=("qkvo",))
