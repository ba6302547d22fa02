"""The Evaluate tab in a real browser, with tiny models that write and draw noise."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect

from evals.reports.tables import read_run
from evals.runner.records import RunFolder
from evals.runner.run import run_suite
from evals.runner.shared import Measured
from evals.suites import SUITES
from mtgen.errors import SettingError
from mtgen.ui import evaluate_run
from mtgen.ui.evaluate_run import Choice, Evaluations, results
from tests.ui.conftest import Server

browser_test = pytest.mark.browser
expect.set_options(timeout=30_000)
RUNS = "#board tbody tr"
STATUS = "#eval-status"


@pytest.fixture(scope="module")
def both_weights(tiny_image_trunk, tiny_weights, tmp_path_factory) -> Path:
    """Tiny experts of both kinds for one trunk."""
    from tests.conftest import save_tiny_image_expert, save_tiny_translation_expert

    folder = tmp_path_factory.mktemp("both")
    save_tiny_image_expert(folder, tiny_image_trunk)
    save_tiny_translation_expert(folder, tiny_image_trunk)
    return folder


@pytest.fixture(scope="module")
def runs_folder(tiny_image_trunk, both_weights, tmp_path_factory) -> Path:
    """Runs that were made before: text twice, translations, pictures, and a damaged folder."""
    import mtgen

    folder = tmp_path_factory.mktemp("runs")
    model = Measured(mtgen.load(tiny_image_trunk, weights=both_weights, progress=False))
    warm = {"temperature": 1.0}
    run_suite(SUITES["smoke"], model, folder / "cold", limit=3, seed=1)
    run_suite(SUITES["smoke"], model, folder / "warm", limit=3, seed=1, settings=warm)
    run_suite(SUITES["translation-glossary"], model, folder / "group" / "glossary", limit=2)
    run_suite(
        SUITES["image-scenes"], model, folder / "drawn", limit=1,
        settings={"num_inference_steps": 2},
    )  # fmt: skip
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text("{", "utf-8")
    return folder


@pytest.fixture(scope="module")
def eval_server(tiny_image_trunk, both_weights, runs_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval-server")
    models = "--trunk", str(tiny_image_trunk), "--weights", str(both_weights)
    env = {
        "GRADIO_TEMP_DIR": str(folder / "files"), "OMP_NUM_THREADS": "1",
        "MTGEN_RUNS": str(runs_folder),
    }  # fmt: skip
    running = Server(*models, log=folder / "log.txt", env=env)
    running.wait()
    yield running
    running.stop()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def page(browser, eval_server):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(eval_server.url)
    page.get_by_role("tab", name="Evaluate").click()
    page.wait_for_selector(RUNS)
    yield page
    context.close()
    assert errors == []


def show(page: Page, name: str, score: str | None = None) -> None:
    """Opens a run, and the samples of one of its scores."""
    page.get_by_label(f"show run {name}", exact=True).click()
    expect(page.get_by_label(f"show run {name}", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    if score:
        page.get_by_label(f"show the samples of {score}", exact=True).click()
        page.wait_for_selector("#samples article")


def box(page: Page, name: str):
    return page.locator(f"#eval-{name}").locator("input, textarea").first


def start(page: Page, limit: str, seed: str) -> None:
    box(page, "limit").fill(limit)
    box(page, "seed").fill(seed)
    page.click("#eval-run")


@browser_test
def test_a_run_shows_its_progress_then_its_scores_and_stands_on_the_board(page, runs_folder):
    before = page.locator(RUNS).count()
    start(page, "2", "5")
    expect(page.locator(STATUS + " .bar")).to_be_visible()
    expect(page.locator(STATUS)).to_contain_text(re.compile(r"\d of 4 samples"))
    expect(page.locator(STATUS)).to_contain_text("finished: 4 of 4 samples")
    expect(page.locator("#scores")).to_contain_text("instruction_following")
    expect(page.locator(RUNS)).to_have_count(before + 1)
    expect(page.locator(RUNS).first).to_contain_text("smoke")
    expect(page.locator("#plots svg").first).to_be_visible()
    run = read_run(runs_folder / "smoke-mtgen-n2-s5")
    assert run.is_complete
    shown = page.locator("#scores tbody tr").first.inner_text()
    assert f"{run.scores[0].value:.3g}" in shown


@browser_test
@pytest.mark.slow
def test_stop_really_stops_and_the_same_choice_goes_on(page, runs_folder):
    folder = runs_folder / "smoke-mtgen-s6"
    start(page, "", "6")
    expect(page.locator(STATUS)).to_contain_text(re.compile(r"[1-9]\d* of 50 samples"))
    page.keyboard.press("Escape")
    expect(page.locator(STATUS)).to_contain_text("stopped:", timeout=10_000)
    done = len(RunFolder(folder).records())
    assert 0 < done < 50
    page.wait_for_timeout(1_500)
    assert len(RunFolder(folder).records()) == done  # nothing goes on behind the page
    expect(page.locator(RUNS).first).to_contain_text(f"{done} of 50 samples done")
    page.click("#eval-run")
    expect(page.locator(STATUS)).to_contain_text("finished: 50 of 50", timeout=90_000)
    assert len(RunFolder(folder).records()) == 50


@browser_test
def test_what_cannot_be_run_is_one_sentence_and_nothing_is_lost(page):
    start(page, "0", "1")
    expect(page.locator(".toast-body").first).to_contain_text("limit must be a whole number from 1")
    expect(page.locator("#eval-run")).to_be_visible()
    assert box(page, "limit").input_value() == "0"
    box(page, "limit").fill("1")
    box(page, "model").fill("no/such folder")
    page.click("#eval-run")
    expect(page.locator(STATUS)).to_contain_text("cannot be had from the Hub")
    expect(page.locator("#eval-run")).to_be_visible()


@browser_test
def test_a_damaged_folder_is_named_and_suites_without_data_say_why(page):
    assert "broken" in page.inner_text("#damaged")
    page.get_by_text(re.compile(r"Suites that cannot run here \(\d+\)")).click()
    expect(page.get_by_text("hellaswag needs hellaswag_val.jsonl")).to_be_visible()


@browser_test
def test_a_score_opens_its_samples_worst_first_and_best_first(page):
    show(page, "cold", "perplexity")
    values = page.locator("#samples article header b")
    *worst, unscored = values.all_inner_texts()
    assert unscored == "–"  # longer than the tiny model reads
    worst = [float(text.replace(",", "")) for text in worst]
    assert worst == sorted(worst, reverse=True)
    assert len(worst) > 1
    page.get_by_text("best first").click()
    expect(values.first).to_have_text(f"{worst[-1]:.3g}")


@browser_test
def test_rows_can_be_reached_with_the_keyboard(page):
    button = page.get_by_label("show run cold", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#run-head")).to_contain_text("first 3 each")


@browser_test
@pytest.mark.slow
def test_a_sample_opens_in_the_text_tab_and_comes_out_as_it_was_measured(page, runs_folder):
    run = read_run(runs_folder / "warm")
    record = next(record for record in run.records if record["kind"] == "text")
    show(page, "warm", "instruction_following")
    page.get_by_label(f"open {record['id']} in the Text tab").click()
    expect(page.locator("#prompt textarea")).to_have_value(record["sample"]["prompt"])
    page.press("#prompt textarea", "Enter")
    expect(page.locator("#status")).to_contain_text("published key")
    assert f"seed {record['seed']}" in page.inner_text("#status")
    with page.expect_download() as download:
        page.click("#export")
    made = json.loads(Path(download.value.path()).read_text("utf-8"))["generations"][-1]
    assert made["text"] == record["output"]
    page.fill("#prompt textarea", "Something else.")  # asked by a visitor: with the page's key
    page.press("#prompt textarea", "Enter")
    page.wait_for_selector("#prompt .submit-button")
    expect(page.locator("#status")).to_contain_text("tokens")
    expect(page.locator("#status")).not_to_contain_text("published key")


@browser_test
@pytest.mark.slow
def test_a_sample_opens_in_the_translate_tab_with_its_glossary(page, runs_folder):
    record = read_run(runs_folder / "group" / "glossary").records[0]
    show(page, "group/glossary", "terms_kept")
    page.get_by_label(f"open {record['id']} in the Translate tab").click()
    expect(page.locator("#source-text textarea")).to_have_value(record["sample"]["text"])
    page.click("#translate")
    expect(page.locator("#translate-status")).to_contain_text("published key")


@browser_test
@pytest.mark.slow
def test_pictures_are_shown_and_a_sample_opens_in_the_image_tab(page, runs_folder):
    record = read_run(runs_folder / "drawn").records[0]
    show(page, "drawn", "scene_exact")
    expect(page.locator("#samples img")).to_have_count(min(8, len(record["images"])))
    page.get_by_label(f"open {record['id']} in the Image tab").click()
    expect(page.locator("#picture-prompt textarea")).to_have_value(
        record["sample"]["prompts"]["en"]
    )
    page.press("#picture-prompt textarea", "Enter")
    expect(page.locator("#picture-status")).to_contain_text("published key")
    assert f"seed {record['seed']}" in page.inner_text("#picture-status")


def pick(page: Page, box: str, name: str) -> None:
    page.locator(f"{box} input").click()
    page.locator(f"{box} li", has_text=re.compile(rf"· {name}\s*$")).click()


@browser_test
@pytest.mark.slow
def test_two_runs_are_compared_with_a_verdict(page):
    page.locator("#compare-runs > button").click()
    pick(page, "#run-a", "cold")
    pick(page, "#run-b", "warm")
    page.click("#compare-go")
    expect(page.locator("#differences tbody tr")).to_have_count(6)
    verdicts = page.locator("#differences tbody tr td:last-child").all_inner_texts()
    assert set(verdicts) <= {"better", "worse", "no clear difference"}
    expect(page.locator("#differences svg")).to_have_count(1)
    pick(page, "#run-b", "drawn")
    page.click("#compare-go")
    expect(page.locator("#differences")).to_contain_text("only runs of the same suite")


@browser_test
def test_a_radar_has_the_aspects_of_a_trunk_and_its_expert(page):
    page.locator("#aspects > button").click()
    page.locator("#aspect-models input").click()
    page.locator("#aspect-models li").first.click()
    expect(page.locator("#radar svg")).to_contain_text("composition")
    expect(page.locator("#radar svg")).to_contain_text("keeping to a glossary")


@browser_test
@pytest.mark.slow
def test_the_chosen_run_is_saved_in_three_forms(page, tmp_path):
    show(page, "cold")
    texts = {}
    for ending in ("html", "csv", "md"):
        expect(page.locator(f"#save-{ending}")).to_be_enabled()
        page.wait_for_timeout(1_500)
        with page.expect_download() as download:
            page.click(f"#save-{ending}")
        assert download.value.suggested_filename == f"cold.{ending}"
        texts[ending] = Path(download.value.path()).read_text("utf-8")
    assert texts["html"].startswith("<!doctype html>")
    assert texts["html"].count("<svg") == 3
    assert texts["csv"].startswith("score,value,ci95_low,ci95_high,can_tell,unit")
    assert texts["md"].startswith("# smoke")
    for text in texts.values():
        assert "instruction_following" in text


def test_the_endpoints_list_runs_and_give_scores(eval_server):
    client = Client(eval_server.url, verbose=False)
    board = client.predict(api_name="/runs")
    names = [run["run"] for run in board["runs"]]
    assert {"cold", "warm", "group/glossary", "drawn"} <= set(names)
    assert any(text.startswith("broken (") for text in board["damaged"])
    result = client.predict("cold", api_name="/scores")
    assert [score["name"] for score in result["scores"]][:2] == [
        "instruction_following", "perplexity",
    ]  # fmt: skip
    assert result["scores"][0]["ci95"]
    with pytest.raises(AppError, match="no run named 'colt'. Did you mean 'cold'"):
        client.predict("colt", api_name="/scores")


def test_a_folder_that_cannot_be_written_gives_way_to_another_for_the_time_being(
    tmp_path, monkeypatch
):
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("MTGEN_RUNS", str(file / "runs"))
    found = results()
    assert "cannot be written to" in found.note
    assert os.access(found.roots[0], os.W_OK)
    monkeypatch.setenv("MTGEN_RUNS", str(tmp_path / "new" / "runs"))
    assert results() == evaluate_run.Results(roots=(tmp_path / "new" / "runs",))
    assert not (tmp_path / "new").exists()  # made by the first run


def test_a_public_page_runs_its_own_model_only_unless_that_is_allowed(monkeypatch):
    from mtgen.errors import SettingError

    monkeypatch.setenv("SPACE_ID", "someone/page")
    assert Choice(suite="smoke").name == "smoke-mtgen-s0"
    with pytest.raises(SettingError, match="runs its own model only, 'mtgen', not 'https://a/v1"):
        Choice(suite="smoke", model="https://a/v1#b")
    monkeypatch.setenv("MTGEN_OTHER_MODELS", "1")
    assert Choice(suite="smoke", model="https://a/v1#b").name == "smoke-https-a-v1-b-s0"


def test_visitors_cannot_fill_the_folder(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}", "utf-8")
    monkeypatch.setenv("MTGEN_MAX_RUNS", "2")
    begun = Evaluations()
    with pytest.raises(SettingError, match="holds 2 runs and takes no more than 2"):
        begun.begin("me", Choice(suite="smoke"), tmp_path)
    (tmp_path / "smoke-mtgen-s0").mkdir()  # one that goes on
    begun.begin("me", Choice(suite="smoke"), tmp_path)
    monkeypatch.setenv("MTGEN_MAX_RUNS", "0")
    begun.begin("you", Choice(suite="smoke", seed=1), tmp_path)
    monkeypatch.setenv("MTGEN_MAX_RUNS", "many")
    with pytest.raises(SettingError, match="must be a whole number of runs, got 'many'"):
        begun.begin("they", Choice(suite="smoke", seed=2), tmp_path)
