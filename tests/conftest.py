"""Fixtures: tiny real models that the tests build themselves, and the real trunk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Shapes in signatures are checked here, and only here; must come before mtgen is imported.
from jaxtyping import install_import_hook

install_import_hook(["mtgen.engine", "mtgen.model.sampling", "mtgen.pipeline"], "beartype.beartype")

import torch  # noqa: E402

# Tests neither read nor make the keys of whoever runs them.
os.environ["MTGEN_MARK_KEY"] = "7e57" * 16
os.environ["MTGEN_KEYS"] = tempfile.mkdtemp(prefix="mtgen-keys-")

ROOT = Path(__file__).parent.parent

torch.set_num_threads(2)

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(folder: Path, merges: int = 60) -> int:
    """Saves a small byte-level BPE tokenizer with a chat template; returns its size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3 + 256 + merges,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([(ROOT / "LICENSE").read_text("utf-8")], trainer)
    tokenizer.add_special_tokens([AddedToken("<|im_end|>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"chat_template": TEMPLATE, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return tokenizer.get_vocab_size()


def save_tiny(folder: Path, kind: str = "llama", **overrides):
    """Saves a tiny random checkpoint that `transformers` made; returns the model."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    vocab_size = byte_tokenizer(folder)
    config_class, model_class = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }[kind]
    fields = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "eos_token_id": 2,
        "bos_token_id": 1,
    }
    torch.manual_seed(0)
    model = model_class(config_class(**(fields | overrides))).eval()
    with torch.no_grad():  # norms and biases start at one and zero: make them matter
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
            else:
                parameter.mul_(8)
    model.save_pretrained(folder)
    return model


def save_tiny_image_expert(folder: Path, trunk_folder: Path) -> None:
    """Saves random experts of 64 places for a tiny trunk; every weight matters."""
    from mtgen.model.autoencoder import Autoencoder, AutoencoderConfig
    from mtgen.model.checkpoint import save_weights
    from mtgen.model.config import TrunkConfig, read_json
    from mtgen.model.files import AUTOENCODER, IMAGE_EXPERT, PICTURE_TOKENIZER
    from mtgen.model.image_expert import ImageExpert, ImageExpertConfig
    from mtgen.model.picture_tokenizer import PictureTokenizer, PictureTokenizerConfig

    trunk = TrunkConfig.from_hf(read_json(trunk_folder / "config.json"), "tiny")
    autoencoder = Autoencoder(
        AutoencoderConfig(
            num_codes=1, channels=(8, 8, 8), last_channels=8, decoder_blocks=(1, 1, 1)
        )
    )
    shape = {"n_layer": 2, "n_embd": 48, "n_head": 2, "n_ff": 64, "trunk_layers": (0, 1)}
    tokenizer = PictureTokenizer(
        PictureTokenizerConfig(**shape, n_encoder_layer=1, num_codes=1), trunk
    )
    expert = ImageExpert(ImageExpertConfig(**shape, n_code_embd=16, n_code_ff=16), trunk)
    torch.manual_seed(1)
    for path, module in (
        (AUTOENCODER, autoencoder), (PICTURE_TOKENIZER, tokenizer), (IMAGE_EXPERT, expert)
    ):  # fmt: skip
        with torch.no_grad():  # zeros would hide the prompt
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) / max(parameter.shape[-1], 1) ** 0.5)
        save_weights(folder / path, module, module.config)


def save_tiny_translation_expert(folder: Path, trunk_folder: Path) -> None:
    """Saves a random translation expert for a tiny trunk; every weight matters."""
    from mtgen.model.checkpoint import save_weights
    from mtgen.model.config import TrunkConfig, read_json
    from mtgen.model.files import TRANSLATION_EXPERT
    from mtgen.model.transformer import LowRankConfig, LowRankExpert

    trunk = TrunkConfig.from_hf(read_json(trunk_folder / "config.json"), "tiny")
    torch.manual_seed(2)
    expert = LowRankExpert(LowRankConfig(rank=4), trunk)
    with torch.no_grad():  # zeros would change nothing
        for parameter in expert.up.values():
            parameter.add_(0.3 * torch.randn_like(parameter))
    save_weights(folder / TRANSLATION_EXPERT, expert, expert.config)


@pytest.fixture(scope="session")
def tiny_trunk(tmp_path_factory) -> Path:
    """A folder with a tiny random Llama of 256 positions."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_trunk):
    """A pipeline over the tiny trunk."""
    import mtgen

    return mtgen.load(tiny_trunk, progress=False)


@pytest.fixture(scope="session")
def tiny_image_trunk(tmp_path_factory) -> Path:
    """A tiny trunk whose heads are wide enough for the image expert."""
    folder = tmp_path_factory.mktemp("tiny-image-trunk")
    save_tiny(folder, head_dim=64)
    return folder


@pytest.fixture(scope="session")
def tiny_weights(tiny_image_trunk, tmp_path_factory) -> Path:
    """A folder with a tiny random autoencoder and image expert for that trunk."""
    folder = tmp_path_factory.mktemp("tiny-weights")
    save_tiny_image_expert(folder, tiny_image_trunk)
    return folder


@pytest.fixture(scope="session")
def tiny_image(tiny_image_trunk, tiny_weights):
    """A pipeline that draws noise, in many steps of milliseconds."""
    import mtgen

    return mtgen.load(tiny_image_trunk, weights=tiny_weights, progress=False)


@pytest.fixture(scope="session")
def tiny_translation_weights(tiny_trunk, tmp_path_factory) -> Path:
    """A folder with a tiny random translation expert for the tiny trunk."""
    folder = tmp_path_factory.mktemp("tiny-translation")
    save_tiny_translation_expert(folder, tiny_trunk)
    return folder


@pytest.fixture(scope="session")
def trunk_folder() -> Path:
    """The real trunk, converted."""
    from mtgen.model.trunk import find_trunk

    return find_trunk(progress=False)


@pytest.fixture(scope="session")
def real(trunk_folder):
    """A pipeline over the real trunk, packed."""
    import mtgen

    return mtgen.load(progress=False)


@pytest.fixture(scope="session")
def real_float32(trunk_folder):
    """The same in float32."""
    import mtgen

    return mtgen.load(precision="float32", progress=False)


@pytest.fixture
def shell(tiny_trunk):
    """Runs a Python command line of the project on the tiny trunk."""

    def call(*arguments: object, env: dict[str, str] | None = None, **options):
        environment = {**os.environ, "MTGEN_TRUNK": str(tiny_trunk), **(env or {})}
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=options.pop("cwd", ROOT),
            env=environment,
            capture_output=True,
            text=True,
            timeout=options.pop("timeout", 120),
            **options,
        )

    return call


def find_chromium() -> str | None:
    """A Chromium on this system."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("MTGEN_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; skips where there is none, unless that is forbidden."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        if os.environ.get("MTGEN_REQUIRE_BROWSER"):
            pytest.fail("no Chromium on this system, and MTGEN_REQUIRE_BROWSER is set")
        pytest.skip("no Chromium on this system; set MTGEN_CHROMIUM to one")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()
