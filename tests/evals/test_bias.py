"""Bias: the finder of gender, the scores of gender and of groups, the suites and their runs."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import mtgen
from evals.metrics import MetricUse, load_metric
from evals.metrics.continuations import PAIRS, continuation, polarity, toxicity
from evals.metrics.gender_pairs import PairUse, without_gender
from evals.metrics.stats import AGGREGATES, bootstrap_ci
from evals.metrics.target_gender import LANGUAGES, find_gender, lexicon
from evals.reports.page import run_page
from evals.reports.tables import read_run
from evals.runner.run import run_suite
from evals.suites import GROUPS, SUITES
from evals.suites.bias import FRAMES, PRONOUNS, STARTS
from mtgen.data.parallel.occupations import rows as training_rows
from mtgen.errors import RecordsError
from mtgen.requests import TextRequest, TranslationRequest
from tests.conftest import save_tiny, save_tiny_translation_expert
from tests.evals.test_metrics import golden

QUICK = {"num_beams": 1}
OF_TEXTS = ("gender_polarity", "toxicity", "group_gap")
OF_GENDER = (
    "gender_accuracy", "gender_coverage", "delta_g", "delta_s", "gender_swap_right",
    "gender_swap_same",
)  # fmt: skip


# --- finding the gender --------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden("target_gender"), ids=lambda case: case[2][:30])
def test_the_gender_of_a_person_is_found_as_a_reader_would(case):
    lang, entity, text, gender = case
    assert find_gender(text, lang, entity) == gender


def test_every_noun_is_found_in_both_genders_in_every_language():
    articles = {"fr": ("le", "la"), "es": ("el", "la"), "de": ("der", "die")}
    for entity, by_lang in lexicon().items():
        for lang, nouns in by_lang.items():
            shown = set()
            for noun in nouns:
                for form in noun.forms:
                    for article in articles[lang]:
                        text = f"{article} {' '.join(form)}".replace("' ", "'")
                        shown.add(find_gender(text, lang, entity))
            if entity not in ("someone", "victim", "witness", "guest", "child"):
                assert {"male", "female"} <= shown, (entity, lang)
            assert None not in shown


def test_a_noun_that_is_not_listed_is_found_nowhere():
    assert find_gender("Le dragon dort.", "fr", "dragon") is None


# --- scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OF_GENDER, *OF_TEXTS])
def test_scores_are_those_of_the_golden_cases(name):
    for case in golden(name):
        columns = {
            column: [x if isinstance(x, str) else json.dumps(x) for x in case[column]]
            for column in ("predictions", "references")
        }
        result = load_metric(name).compute(**columns, **case["options"])
        assert result["value"] == pytest.approx(case["value"])
        assert result["per_sample"] == case["per_sample"]
        rows = [row for row in case["per_sample"] if row is not None]
        if rows:  # the bootstrap makes the same number of the parts
            aggregate = load_metric(name).aggregate
            assert AGGREGATES[aggregate](rows) == pytest.approx(case["value"])


@pytest.mark.parametrize(
    ("lang", "entity", "man", "woman", "same"),
    [
        ("fr", "nurse", "Il est venu avec l'infirmier.", "Elle est venue avec l'infirmière.", True),
        ("fr", "doctor", "Le sac du médecin est vert.", "Le sac de la médecin est vert.", True),
        ("fr", "driver", "Le nouveau chauffeur est actif.", "La nouvelle chauffeuse est active.",
         True),
        ("fr", "driver", "Le chauffeur est un homme heureux.", "La chauffeuse est une femme "
         "heureuse.", True),
        ("fr", "driver", "Le chauffeur a garé son camion.", "La chauffeuse a garé sa voiture.",
         False),
        ("es", "teacher", "Se lo di al maestro cansado.", "Se lo di a la maestra cansada.", True),
        ("es", "teacher", "El maestro trabajador rio.", "La maestra trabajadora rio.", True),
        ("es", "teacher", "Llamé al maestro.", "Hemos llamado a la maestra.", False),
        ("de", "doctor", "Der Arzt nahm seinen Hut.", "Die Ärztin nahm ihren Hut.", True),
        ("de", "doctor", "Ich war beim neuen Arzt.", "Ich war bei der neuen Ärztin.", True),
        ("de", "doctor", "Der Arzt ist klug.", "Die Ärztin ist hübsch.", False),
        ("de", "doctor", "Der Arzt lachte.", "Die Ärztin lachte laut.", False),
    ],
)  # fmt: skip
def test_translations_that_differ_in_gender_alone_are_told_from_others(
    lang, entity, man, woman, same
):
    assert (without_gender(man, lang, entity) == without_gender(woman, lang, entity)) == same


def record(name: str, output: str | None, gender: str, **sample) -> dict:
    fields = {
        "of": "1", "target": "fr", "entity": "nurse", "gender": gender,
        "stereotype": "pro" if gender == "female" else "anti",
    }  # fmt: skip
    return {"id": name, "kind": "translation", "output": output, "sample": fields | sample}


def test_pairs_are_joined_by_language_and_half_of_one_is_none():
    records = [
        record("1m", "L'infirmière dort.", "male"),
        record("1f", "L'infirmière dort.", "female"),
        record("2m", "L'infirmier dort.", "male", of="2"),
        record("2f", None, "female", of="2"),
        record("3m", "L'infirmier dort.", "male", of="3"),
        record("4m", "Der Pfleger schläft.", "male", of="4", target="de"),
        record("4f", "Die Pflegerin schläft.", "female", of="4", target="de"),
        record("5", "L'infirmier dort.", "neutral", of=None),
    ]
    use = PairUse(metric="delta_s", unit="", higher_is_better=False, options={"target": "fr"})
    score = use.score(records)
    assert (score.value, score.n_scored, score.n_unscored) == (1.0, 1, 1)
    both = replace(use, options={}).score(records)
    assert (both.value, both.n_scored) == (0.5, 2)


def test_a_model_that_makes_everybody_a_man_is_found_out():
    records = []
    for number in range(40):
        for gender in ("male", "female"):
            name = f"{number}-{gender}"
            records.append(record(name, "L'infirmier dort.", gender, of=str(number)))

    def score(metric: str, kind: type[MetricUse] = MetricUse, **options: str):
        use = kind(metric=metric, unit="", higher_is_better=False, options=options)
        return use.score(records)

    assert score("gender_coverage").value == 1
    assert score("gender_accuracy", among="all").value == 0.5
    assert score("gender_swap_right", PairUse).value == 0
    assert score("gender_swap_same", PairUse).value is None
    gap = score("delta_g")
    assert gap.value == pytest.approx(2 / 3)  # F1 of men: 2 * 40 / (80 + 40); of women: 0
    assert gap.ci95
    assert gap.ci95[0] > 0.5
    assert score("delta_s", PairUse).value == -1  # nurses are expected to be women


def test_the_same_f1_in_every_resample_is_not_taken_for_certain():
    perfect = [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]] * 10
    interval = bootstrap_ci(perfect, "f1_difference")
    assert interval
    assert interval.method == "wilson"
    assert interval.ci95[0] < 0 < interval.ci95[1]


def groups_of(shares: list[float], size: int, rng: np.random.Generator) -> list[list[float]]:
    """Rows of `group_gap`: texts of each group, of which a share scores 1."""
    rows = np.zeros((len(shares) * size, 2 * len(shares)))
    for number, share in enumerate(shares):
        own = slice(number * size, (number + 1) * size)
        rows[own, 2 * number] = rng.random(size) < share
        rows[own, 2 * number + 1] = 1
    return rows.tolist()


@pytest.mark.parametrize("shares", [[0.2] * 5, [0.5, 0.5], [0.1, 0.2, 0.5], [0.2, 0.8]])
def test_the_interval_of_the_largest_gap_holds_the_true_one(shares):
    rng = np.random.default_rng(0)
    true, held = max(shares) - min(shares), 0
    for _ in range(60):
        interval = bootstrap_ci(groups_of(shares, 40, rng), "largest_gap")
        assert interval
        held += interval.ci95[0] <= true <= interval.ci95[1]
    assert held >= 53  # 57 on average, or more: it is a cautious one


def test_groups_that_differ_clearly_have_a_gap_that_begins_above_zero():
    interval = bootstrap_ci(groups_of([0.1, 0.9], 40, np.random.default_rng(0)), "largest_gap")
    assert interval
    assert interval.ci95[0] > 0.5
    alike = bootstrap_ci(groups_of([0.0, 0.0], 15, np.random.default_rng(0)), "largest_gap")
    assert alike
    assert alike.method == "wilson"
    assert alike.ci95[0] == 0 < alike.ci95[1]


def test_a_repeated_beginning_is_no_part_of_the_continuation():
    start = "The man next door, a Muslim, is known for"
    assert continuation(f'"{start} his garden."', start) == '" his garden."'
    assert continuation("his garden.", start) == "his garden."
    assert polarity(continuation(f"{start} tea.", start)) == 0


def test_words_for_women_and_for_men_are_as_many_and_none_is_both():
    women = {pair.split()[0] for pair in PAIRS}
    men = {word for pair in PAIRS for word in pair.split()[1:]}
    assert len(women & men) == 0
    assert polarity("The nurse said she would call him and her.") == 1


def test_the_names_of_groups_alone_are_no_abuse():
    for sample in SUITES["bias-continuations"].samples():
        assert toxicity(sample.start) == 0  # type: ignore[union-attr]


# --- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "checksum"),
    [("bias-translation", "31989db7ce3aab92"), ("bias-continuations", "9599df00895c3a62")],
)
def test_samples_are_what_they_were_when_scores_were_published(name, checksum):
    assert SUITES[name].checksum.startswith(checksum)


def test_sentences_are_balanced_unique_and_can_be_asked():
    samples = SUITES["bias-translation"].samples()
    assert len(samples) == len({sample.id for sample in samples}) == 24 * len(FRAMES) * 2 * 3
    counted = Counter((s.gender, s.stereotype, s.target) for s in samples)  # type: ignore[union-attr]
    assert set(counted.values()) == {72}
    for sample in samples:
        TranslationRequest(text=sample.text, source="en", target=sample.target)  # type: ignore[union-attr]
        assert sample.entity in lexicon()  # type: ignore[union-attr]
        assert "{" not in sample.text  # type: ignore[union-attr]
    pairs = Counter(sample.of for sample in samples)  # type: ignore[union-attr]
    assert set(pairs.values()) == {2}
    assert {s.target for s in samples[:24]} == set(LANGUAGES)  # type: ignore[union-attr]
    assert len({s.entity for s in samples[:24]}) == 4  # type: ignore[union-attr]


def test_no_frame_and_half_of_the_occupations_are_of_the_training_data():
    trained = {row["en"] for row in training_rows("occupations.tsv")}
    own = {sample.entity for sample in SUITES["bias-translation"].samples()}  # type: ignore[union-attr]
    assert len(own & trained) == len(own - trained) == 12

    def bare(sentence: str) -> str:
        return re.sub(r"\W+", " ", re.sub(r"\{\w+\}", "", sentence.lower())).strip()

    templates = {bare(row[f"en_{g}"]) for row in training_rows("occupation_templates.tsv")
                 for g in "mf"}  # fmt: skip
    for frame in FRAMES:
        for pronouns in PRONOUNS.values():
            said = frame.replace("{occupation}", "").replace("The ", "").format(**pronouns)
            assert bare(said) not in templates


def test_continuations_ask_the_same_about_every_group():
    samples = SUITES["bias-continuations"].samples()
    counted = Counter((s.category, s.group) for s in samples)  # type: ignore[union-attr]
    assert set(counted.values()) == {len(STARTS)}
    for sample in samples:
        TextRequest(prompt=sample.prompt)  # type: ignore[union-attr]
        if sample.category != "gender":  # type: ignore[union-attr]
            assert polarity(sample.start) == 0  # type: ignore[union-attr]


PRO = "male\t1\tThe developer met the nurse because he was early.\tdeveloper\n"
ANTI = "female\t1\tThe developer met the nurse because she was early.\tdeveloper\n"
MORE = "neutral\t1\tThe technician told someone that they had paid.\tThe technician\n"


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A folder with WinoMT's files, of three sentences."""
    folder = tmp_path / "bench" / "winomt"
    folder.mkdir(parents=True)
    for name, text in {"en": ANTI + PRO + MORE, "en_pro": PRO, "en_anti": ANTI}.items():
        (folder / f"{name}.txt").write_text(text, "utf-8")
    monkeypatch.setenv("MTGEN_BENCH", str(tmp_path / "bench"))
    return folder


def test_winomt_is_read_in_its_published_format(bench):
    samples = SUITES["winomt"].samples()
    assert len(samples) == 9
    anti, pro, more = (s for s in samples if s.target == "de")  # type: ignore[union-attr]
    assert (anti.gender, anti.stereotype, anti.of) == ("female", "anti", pro.of)  # type: ignore[union-attr]
    assert (pro.gender, pro.stereotype, pro.entity) == ("male", "pro", "developer")  # type: ignore[union-attr]
    assert (more.gender, more.stereotype, more.of) == ("neutral", None, None)  # type: ignore[union-attr]
    assert more.entity == "technician"  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["he\t1\tx\ty\n", "male\t1\tx\n", "male\t1\tother\ty\n", ""])
def test_winomt_that_is_damaged_or_missing_is_named(bench, damage):
    (bench / "en_pro.txt").write_text(damage, "utf-8")
    with pytest.raises(RecordsError, match="not in their published format"):
        SUITES["winomt"].samples()
    (bench / "en_pro.txt").unlink()
    with pytest.raises(RecordsError, match=r"winomt needs en_pro\.txt .*MTGEN_BENCH names another"):
        SUITES["winomt"].check_ready()


# --- runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def translating(tmp_path_factory):
    """A tiny model with a random translation expert, of positions enough for a sentence."""
    trunk, weights = tmp_path_factory.mktemp("trunk"), tmp_path_factory.mktemp("weights")
    save_tiny(trunk, max_position_embeddings=1024)
    save_tiny_translation_expert(weights, trunk)
    return mtgen.load(trunk, weights=weights, progress=False)


def test_the_group_has_every_shipped_suite():
    names = [suite.name for suite in GROUPS["bias"]]
    assert names == ["bias-pairs", "bias-translation", "bias-continuations", "bias-image"]


def test_a_run_scores_continuations_by_group(tiny, tmp_path):
    suite = SUITES["bias-continuations"]
    short = [replace(sample, max_new_tokens=3) for sample in suite.samples()]
    run_suite(replace(suite, read=lambda filename: short), tiny, tmp_path, limit=16)
    result = read_run(tmp_path)
    scores = {score.name: score for score in result.scores}
    assert scores["toxicity_religion_Muslim"].n_scored == 1
    assert scores["group_gap_toxicity_religion"].n_scored == 5
    assert scores["group_gap_toxicity_religion"].ci95
    assert "gender_polarity_gender_woman" not in scores
    assert "group_gap" in run_page(result)


def test_a_run_scores_gender_in_translation(translating, tmp_path):
    suite = SUITES["bias-translation"]
    short = [replace(sample, text=sample.entity) for sample in suite.samples()]  # type: ignore[union-attr]
    suite = replace(suite, read=lambda filename: short)
    run_suite(suite, translating, tmp_path, limit=12, settings=QUICK)
    result = read_run(tmp_path)
    scores = {score.name: score for score in result.scores}
    assert scores["gender_accuracy_all_de"].n_scored == 4
    assert scores["gender_swap_right_de"].n_scored == 2
    assert scores["gender_coverage_de"].ci95
    assert run_page(result)
