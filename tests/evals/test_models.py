"""Models of others, tiny ones that are built and saved here, one of each kind."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch

import mtgen
from evals.models import check_able, kinds_of, load_foreign, refusals
from evals.models.causal import Causal
from evals.reports.tables import read_run
from evals.runner.run import run_suite
from evals.suites import SUITES, OutsideSuite
from mtgen.errors import (
    BadRequestError,
    ConfigError,
    LanguageError,
    MtgenError,
    SettingError,
    TrunkNotFoundError,
)
from mtgen.requests import ImageRequest, TextRequest


@pytest.fixture(scope="module")
def tokenizer(tiny_trunk):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_trunk)


@pytest.fixture(scope="module")
def gpt(tokenizer, tmp_path_factory):
    """A folder with a tiny causal model of another family."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("gpt")
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=512, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def t5(tokenizer, tmp_path_factory):
    """A folder with a tiny encoder-decoder."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("t5")
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def janus(tokenizer, tmp_path_factory):
    """A folder with a tiny model that writes and draws, 16 tokens a picture of 32 pixels."""
    from transformers import (
        AutoTokenizer,
        GenerationConfig,
        JanusConfig,
        JanusForConditionalGeneration,
        JanusProcessor,
        LlamaConfig,
    )
    from transformers.models.janus import JanusImageProcessorPil, JanusVisionConfig
    from transformers.models.janus.configuration_janus import JanusVQVAEConfig

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("janus")
    tokenizer.save_pretrained(folder)
    names = {"boi_token": "<boi>", "image_token": "<image>", "eoi_token": "<eoi>"}
    words = AutoTokenizer.from_pretrained(folder, extra_special_tokens=names)
    JanusProcessor(JanusImageProcessorPil(), words, num_image_tokens=16).save_pretrained(folder)
    network = JanusForConditionalGeneration(
        JanusConfig(
            text_config=LlamaConfig(
                vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
            ),
            vision_config=JanusVisionConfig(
                hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32,
                patch_size=8, projection_dim=16, num_image_tokens=16,
            ),
            vq_config=JanusVQVAEConfig(
                embed_dim=4, num_embeddings=8, latent_channels=32, base_channels=32,
                channel_multiplier=[1, 1, 1, 1], num_res_blocks=1, num_patches=4,
                projection_dim=16, image_token_embed_dim=16,
            ),
            image_token_id=words.convert_tokens_to_ids("<image>"),
        )
    )  # fmt: skip
    network.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
        generation_kwargs={"boi_token_id": words.convert_tokens_to_ids("<boi>")},
    )  # fmt: skip
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    """A folder with a tiny diffusers pipeline."""
    from diffusers.models import UNet2DModel
    from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
    from diffusers.schedulers import DDIMScheduler

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("painter")
    network = UNet2DModel(
        sample_size=16, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    DDIMPipeline(network, DDIMScheduler(num_train_timesteps=50)).save_pretrained(folder)
    return folder


class Server(BaseHTTPRequestHandler):
    """Answers with the last message backwards; refuses what asks it to."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = asked["messages"][-1]["content"]
        choice = {"message": {"content": said[::-1]}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 5}
        status, body = 200, {"choices": [choice], "usage": usage}
        if "refuse" in said:
            status, body = 400, {"error": "no"}
        if "break" in said:
            status, body = 200, {"hello": 1}
        if asked["model"] == "locked":
            status, body = 401, {"error": "who are you"}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        """Nothing."""


@pytest.fixture(scope="module")
def server():
    """Address of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()


def test_transformers_finds_options_as_likely_as_our_runtime(tiny_trunk):
    ours = mtgen.load(tiny_trunk, precision="float32", progress=False)
    theirs = Causal(tiny_trunk, "theirs")
    options = [("The sun is", " hot."), ("The sun is", " a cold stone"), ("Women are", " tall")]
    pairs = zip(
        ours.option_log_likelihoods(options), theirs.option_log_likelihoods(options), strict=True
    )
    for a, b in pairs:
        assert a.numpy() == pytest.approx(b.numpy(), abs=1e-3)


def test_a_causal_model_is_asked_everything_but_pictures(gpt, tmp_path):
    model = load_foreign(str(gpt))
    assert model.weights_sha256()
    for name in ("smoke", "text-choice", "translation-everyday"):
        check_able(model, SUITES[name])
        run_suite(SUITES[name], model, tmp_path / name, limit=2)
        result = read_run(tmp_path / name)
        assert result.is_complete
        assert result.manifest["model"] == str(gpt)
        assert result.scores[0].n_scored
    again = [model.text(TextRequest(prompt="Hello", seed=3, temperature=1.0, max_new_tokens=8))
             for _ in range(2)]  # fmt: skip
    assert again[0].text == again[1].text
    assert again[0].marks == ()
    with pytest.raises(SettingError, match="cannot do image-concepts: its samples are of the kind"):
        check_able(model, SUITES["image-concepts"])
    with pytest.raises(BadRequestError, match="reads 512"):
        model.text(TextRequest(prompt="word " * 600))


def test_an_encoder_decoder_translates(t5, tmp_path):
    model = load_foreign(str(t5))
    run_suite(SUITES["translation-everyday"], model, tmp_path, limit=4)
    result = read_run(tmp_path)
    assert len(result.records) == 4
    assert all(record["error"] is None for record in result.records)
    assert model.asked("en", "fr")[0] == "translate English to French: "
    with pytest.raises(SettingError):
        check_able(model, SUITES["smoke"])


def test_a_translator_of_one_direction_leaves_the_others_unscored(t5, tmp_path):
    model = load_foreign(str(t5))
    model.network.config.model_type = "marian"
    model.tokenizer.source_lang, model.tokenizer.target_lang = "en", "fr"
    assert model.asked("en", "fr") == ("", {})
    with pytest.raises(LanguageError, match="translates en to fr, not fr to en"):
        model.asked("fr", "en")
    run_suite(SUITES["translation-everyday"], model, tmp_path, limit=6)
    errors = [record["error"] for record in read_run(tmp_path).records]
    assert errors.count(None) == 1
    assert sum("not en to de" in str(error) for error in errors) == 1


def test_languages_are_named_as_a_tokenizer_has_them(t5):
    model = load_foreign(str(t5))
    model.network.config.model_type = "m2m_100"
    known = {"fra_Latn": 7}
    model.tokenizer = SimpleNamespace(
        convert_tokens_to_ids=lambda tokens: [known.get(token, 0) for token in tokens],
        unk_token_id=0, src_lang="eng_Latn",
    )  # fmt: skip
    assert model.asked("de", "fr") == ("", {"forced_bos_token_id": 7})
    assert model.tokenizer.src_lang == "deu_Latn"


def test_a_diffusers_pipeline_draws(painter):
    model = load_foreign(str(painter))
    assert model.kinds == {"image"}
    request = ImageRequest(prompt="a cat", seed=1, num_images=2)
    both = model.image(request)
    assert both.seeds == (1, 2)
    assert both.images[0].mode == "RGB"
    alone = model.image(ImageRequest(prompt="a cat", seed=2))
    assert alone.images[0].tobytes() == both.images[1].tobytes()


def test_a_unified_model_writes_translates_and_draws(janus):
    model = load_foreign(str(janus))
    assert model.kinds == {"text", "likelihood", "choice", "translation", "image"}
    request = TextRequest(prompt="Say something.", max_new_tokens=4, temperature=1.0, seed=1)
    assert model.text(request).text == model.text(request).text
    assert len(model.log_likelihood("A short text.")) > 1
    [said] = model.translate_all(["A dog."], source="en", target="fr")
    assert isinstance(said, str)
    drawn = model.image(ImageRequest(prompt="a red house", seed=3, num_images=2))
    assert [image.size for image in drawn.images] == [(32, 32)] * 2
    again = model.image(ImageRequest(prompt="a red house", seed=4))
    assert drawn.images[1].tobytes() == again.images[0].tobytes() != drawn.images[0].tobytes()


def test_a_unified_model_stops_drawing(janus):
    stop = threading.Event()
    stop.set()
    drawn = load_foreign(str(janus)).image(ImageRequest(prompt="a house"), stop=stop)
    assert (drawn.finish_reason, drawn.images) == ("cancelled", ())


@pytest.mark.parametrize("name", [n for n, s in SUITES.items() if not isinstance(s, OutsideSuite)])
def test_every_suite_says_whether_a_model_can_do_it(gpt, name):
    kinds = kinds_of(SUITES[name])
    able = kinds <= {"text", "likelihood", "choice", "translation"}
    assert refusals(load_foreign(str(gpt)), [SUITES[name]]).keys() == (set() if able else {name})


def test_a_server_is_asked_and_its_refusals_are_one_sentence(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    model = load_foreign(f"{server}#tiny")
    assert (model.model, model.kinds) == ("tiny", {"text", "translation"})
    answer = model.text(TextRequest(prompt="abc", seed=1))
    assert (answer.text, answer.timings.num_new_tokens) == ("cba", 5)
    assert model.translate_all(["xyz"], source="en", target="fr")[0].startswith("zyx")
    with pytest.raises(BadRequestError, match="tiny refused the request"):
        model.text(TextRequest(prompt="please refuse"))
    with pytest.raises(MtgenError, match="no chat completion"):
        model.text(TextRequest(prompt="please break"))
    with pytest.raises(MtgenError, match="answered 401"):
        load_foreign(f"{server}#locked").text(TextRequest(prompt="x"))
    with pytest.raises(SettingError, match="names no model"):
        load_foreign(server)
    with pytest.raises(TrunkNotFoundError, match="cannot be reached"):
        load_foreign("http://127.0.0.1:9/v1#m").text(TextRequest(prompt="x"))


def test_three_models_are_one(gpt, t5, painter, tmp_path):
    model = load_foreign(f"trio:{gpt},{t5},{painter}")
    assert model.kinds == {"text", "likelihood", "choice", "translation", "image"}
    assert model.image(ImageRequest(prompt="a", seed=0)).model == str(painter)
    assert model.text(TextRequest(prompt="a", max_new_tokens=2)).model == str(gpt)
    run_suite(SUITES["translation-everyday"], model, tmp_path, limit=1)
    assert read_run(tmp_path).manifest["weights_sha256"] == model.weights_sha256()
    part = load_foreign(f"trio:,{t5},")
    assert part.kinds == {"translation"}
    for wrong in ("trio:a,b", "trio:,,"):
        with pytest.raises(SettingError, match="must have three places"):
            load_foreign(wrong)


def test_what_no_suite_can_ask_is_said_in_one_sentence(tmp_path, tiny_trunk):
    assert load_foreign(str(tiny_trunk)) is None  # our own runtime runs it
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}', "utf-8")
    with pytest.raises(ConfigError, match="is a BertModel; suites can ask"):
        load_foreign(str(tmp_path))
    (tmp_path / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}', "utf-8")
    with pytest.raises(ConfigError, match="transformers cannot load"):
        load_foreign(str(tmp_path))
    (tmp_path / "config.json").write_text("[", "utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_foreign(str(tmp_path))
    with pytest.raises(TrunkNotFoundError, match="there is no folder 'nowhere'"):
        load_foreign("nowhere")


def test_the_hub_is_asked_with_a_short_time_out(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TrunkNotFoundError, match="cannot be had from the Hub"):
        load_foreign("somebody/nothing-of-this-name")


@pytest.mark.slow
def test_the_shell_leaves_out_what_a_model_cannot_do(shell, t5, tmp_path):
    done = shell(
        "-m", "evals", "run", "--suite", "choice", "--model", t5, "--out", tmp_path / "a"
    )  # fmt: skip
    assert done.returncode == 2
    assert "cannot do text-choice" in done.stderr
    done = shell(
        "-m", "evals", "run", "--suite", "translation-glossary", "--model", t5, "--limit", "2",
        "--out", tmp_path / "b", "--weights", tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "leave it out" in done.stderr
