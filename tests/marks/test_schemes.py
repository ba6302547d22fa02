"""Every scheme marks what it writes, and finds nothing elsewhere."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from mtgen.errors import UnknownNameError
from mtgen.marks.schemes import SCHEMES, scheme
from mtgen.model.sampling import Unmarked, nucleus, sample_token, seeded

SECRET, OTHER = b"s" * 32, b"o" * 32
VOCAB = 600


def written(writer, length, seed, temperature=1.0, spread=2.5):
    """Tokens of a made-up model, whose odds depend on the last two tokens."""
    generator = seeded(seed)
    ids = []
    for _ in range(length):
        name = hash(tuple(ids[-2:])) % 2**31
        logits = spread * torch.randn(VOCAB, generator=seeded(name))
        ids.append(writer.next(logits, temperature, 0.95, generator))
    return ids


@pytest.mark.parametrize("name", SCHEMES)
def test_a_mark_is_found_by_its_key_and_by_no_other(name):
    right, wrong = scheme(name, SECRET, VOCAB), scheme(name, OTHER, VOCAB)
    texts = [written(right.writer(), 80, seed) for seed in range(12)]
    found = [right.read(ids).p_value for ids in texts]
    assert np.median(found) < 1e-4
    assert min(wrong.read(ids).p_value for ids in texts) > 1e-3


@pytest.mark.parametrize("name", SCHEMES)
def test_p_values_of_unmarked_texts_are_never_too_small(name):
    way = scheme(name, SECRET, VOCAB)
    found = [way.read(written(Unmarked(), 40, 100 + seed)).p_value for seed in range(150)]
    # binomial p-values are coarse, and then larger than uniform ones
    assert kstest(found, "uniform", alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("ids", [[], [5], [5, 6], [5] * 40])
def test_too_short_and_repeated_texts_prove_nothing(name, ids):
    reading = scheme(name, SECRET, VOCAB).read(ids)
    assert reading.num_scored <= 1
    assert reading.p_value > 1e-3


def test_another_seed_gives_another_marked_text_and_the_same_seed_the_same():
    way = scheme("gumbel", SECRET, VOCAB)
    one, again, two = (written(way.writer(), 40, seed) for seed in (1, 1, 2))
    assert one == again != two


@pytest.mark.parametrize("name", SCHEMES)
def test_no_token_beyond_the_nucleus_is_taken(name):
    writer, generator, ids = scheme(name, SECRET, VOCAB).writer(), seeded(1), []
    for place in range(40):
        logits = 2.5 * torch.randn(VOCAB, generator=seeded(place))
        ids.append(writer.next(logits, 0.8, 0.9, generator))
        assert ids[-1] in nucleus(logits, 0.8, 0.9)[1]


def test_a_tournament_of_possible_tokens_is_that_of_the_vocabulary():
    few, all_tokens = (scheme("synthid", SECRET, VOCAB).processor() for _ in range(2))
    ids: list[int] = []
    for place in range(12):
        probabilities, tokens = nucleus(torch.randn(VOCAB, generator=seeded(place)), 0.8, 0.9)
        whole = torch.full((1, VOCAB), -torch.inf, dtype=torch.float64)
        whole[0, tokens] = probabilities.log()
        few.possible = tokens
        given = torch.tensor([ids], dtype=torch.long)
        found = few(given, probabilities.log()[None]).softmax(-1)[0]
        assert torch.allclose(found, all_tokens(given, whole).softmax(-1)[0, tokens])
        ids.append(int(tokens[found.argmax()]))


@pytest.mark.parametrize("name", ["gumbel", "gumbel-single"])
def test_greedy_texts_have_no_mark(name):
    writer = scheme(name, SECRET, VOCAB).writer()
    ids = written(writer, 20, 1, temperature=0.0)
    assert ids == written(Unmarked(), 20, 2, temperature=0.0)


def test_the_nucleus_holds_top_p_of_the_probability():
    logits = torch.randn(VOCAB, generator=seeded(1)) * 3
    probabilities, index = nucleus(logits, 0.7, 0.9)
    whole = (logits.double() / 0.7).softmax(0)
    assert torch.allclose(whole[index], probabilities)
    assert probabilities.sum() >= 0.9 > probabilities[:-1].sum()
    drawn = {sample_token(logits, 0.7, 0.9, seeded(seed)) for seed in range(50)}
    assert drawn <= set(index.tolist())


def test_an_unknown_scheme_is_named():
    with pytest.raises(UnknownNameError, match="no scheme of marks named 'gumble'"):
        scheme("gumble", SECRET, VOCAB)
