"""What a Hugging Face Space reads: the README's front matter and the requirements."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest
import yaml

from mtgen.model.trunk import SMOLLM2_135M
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def card() -> dict:
    text = (ROOT / "README.md").read_text("utf-8")
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert match, "README.md starts with front matter"
    return yaml.safe_load(match.group(1))


def test_the_sdk_is_the_gradio_that_is_installed(card):
    assert card["sdk"] == "gradio"
    assert card["sdk_version"] == version("gradio")
    assert f"gradio[mcp]=={version('gradio')}" in (ROOT / "requirements.txt").read_text("utf-8")


def test_the_files_named_exist_and_python_is_ours(card):
    assert (ROOT / card["app_file"]).is_file()
    assert card["python_version"] == "3.11"
    assert card["license"] == "apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")


def test_the_card_fits_the_hubs_limits(card):
    assert 0 < len(card["short_description"]) <= 60
    assert card["title"]
    assert card["emoji"]
    assert set(card["tags"]) >= {"text-generation"}


def test_the_preloaded_file_is_the_pinned_trunk(card):
    pin = SMOLLM2_135M
    assert f"{pin.hub_repo} {pin.filename} {pin.hub_revision}" in card["preload_from_hub"]


def test_torch_comes_from_its_cpu_index_first():
    lines = (ROOT / "pre-requirements.txt").read_text("utf-8").split("\n")
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in lines
    assert f"torch=={version('torch').split('+')[0]}" in lines


def test_every_requirement_is_pinned_and_installed():
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, pinned = line.split("==")
            assert version(re.sub(r"\[.*\]", "", name)).split("+")[0] == pinned


def test_the_readmes_two_commands_are_targets_of_the_makefile():
    readme = (ROOT / "README.md").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")
