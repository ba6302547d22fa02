"""Training runs on tiny models: they learn, resume, and are the same in one process and two."""

import dataclasses
import json
import math

import pytest
import torch

import mtgen
from mtgen.cli import run
from mtgen.data.pack import pack
from mtgen.errors import BadRequestError, SettingError, UnknownNameError
from mtgen.model.autoencoder import Autoencoder
from mtgen.model.checkpoint import load_picture_tokenizer, read_weights, save_weights
from mtgen.model.files import AUTOENCODER, PICTURE_TOKENIZER, TRANSLATION_EXPERT
from mtgen.model.picture_tokenizer import PictureTokenizer, PictureTokenizerConfig
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.model.transformer import TrunkModel
from mtgen.train.__main__ import keep_settings, main
from mtgen.train.config import PRESETS, lr_share, preset
from mtgen.train.loop import STATE, TRUNK, Budget, Sources, Trainer, make_accelerator
from mtgen.train.report import METRICS
from mtgen.train.streams import (
    CsvPairs,
    Share,
    TranslationStream,
    captioned,
    folder_pictures,
    packed_pictures,
    read_square,
)
from tests.conftest import save_tiny
from tests.data.test_pictures import BUILT, picture_store
from tests.model.test_autoencoder import TINY as TINY_AUTOENCODER

SIZE_PX = 64
IMAGE = dataclasses.replace(PRESETS["tiny"].image, side=2)
TOKENS = dataclasses.replace(PRESETS["tiny"].tokens, side=2, num_codes=2)
PAIRS = """en,de
The cat sleeps.,Die Katze schläft.
The dog runs.,Der Hund läuft.
A bird sings in the tree.,Ein Vogel singt im Baum.
Where is the station?,Wo ist der Bahnhof?
"""


@pytest.fixture(scope="module")
def trunk_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trunk")
    save_tiny(folder, head_dim=64, num_attention_heads=2)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory, trunk_folder):
    """A folder with a tiny random autoencoder and picture tokenizer."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_weights(folder / AUTOENCODER, Autoencoder(TINY_AUTOENCODER), TINY_AUTOENCODER)
    tokenizer = PictureTokenizer(TOKENS, TrunkModel.from_dir(trunk_folder).config)
    save_weights(folder / PICTURE_TOKENIZER, tokenizer, TOKENS)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Packed pictures of a tiny build."""
    from mtgen.data.build import BuildOptions
    from mtgen.data.images.build import build

    folder = tmp_path_factory.mktemp("packed")
    options = BuildOptions(out=folder / "out", only=BUILT, workers=1, progress=False)
    build(options, picture_store(folder / "packages"))
    pack("images", folder / "out", folder / "pack")
    return folder / "pack"


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(PAIRS, "utf-8")
    return path


@pytest.fixture
def make(trunk_folder, packed, tmp_path, pairs):
    """Builds a trainer over pictures and pairs, in float32 on the CPU."""

    def build(name, steps, *, wrap=lambda stream: stream, checkpoint_minutes=0.0, **changes):
        changes = {
            "image": IMAGE,
            "tokens": TOKENS,
            "image_batch": 4,
            "translate_batch": 4,
            **changes,
        }
        config = preset("tiny", **changes)
        tokenizer = ChatTokenizer(trunk_folder)
        torch.manual_seed(0)
        autoencoder = Autoencoder(TINY_AUTOENCODER)
        trunk = TrunkModel.from_dir(trunk_folder)
        picture_tokenizer = PictureTokenizer(TOKENS, trunk.config)
        pictures = packed_pictures(
            packed, config.image_batch, Share(), num_workers=0, size_px=SIZE_PX, seed=0
        )
        sources = Sources(
            pictures=wrap(pictures),
            pairs=TranslationStream(CsvPairs(pairs, tokenizer), tokenizer, 4, Share(), 0),
        )
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Trainer(
            folder, config, trunk, tokenizer, autoencoder, picture_tokenizer, sources,
            Budget(steps=steps, checkpoint_minutes=checkpoint_minutes, sheet_minutes=1e9),
            make_accelerator(True, "float32", False),
        )  # fmt: skip

    return build


def curve(folder):
    lines = [json.loads(line) for line in (folder / METRICS).read_text("utf-8").splitlines()]
    return [
        (line["step"], line["loss/image"], line.get("loss/translate"))
        for line in lines if "loss/image" in line
    ]  # fmt: skip


class Killed(Exception):
    """Stands for the end of the process."""


def killed_after(batches):
    def wrap(stream):
        def limited(first):
            for number, batch in enumerate(stream(first)):
                if number == batches:
                    raise Killed
                yield batch

        return limited

    return wrap


@pytest.mark.parametrize("reuse", [1, 2])
def test_a_run_that_is_killed_goes_on_with_the_same_curve(make, tmp_path, reuse):
    make("whole", 8, reuse=reuse).run()
    whole = curve(tmp_path / "whole")
    assert [step for step, *_ in whole] == list(range(1, 9))
    with pytest.raises(Killed):
        make("broken", 8, reuse=reuse, wrap=killed_after(4 // reuse)).run()
    before = len(curve(tmp_path / "broken"))
    assert 0 < before < 8
    resumed = make("broken", 8, reuse=reuse)
    assert resumed.step > 0
    resumed.run()
    broken = {step: losses for step, *losses in curve(tmp_path / "broken")}
    assert broken == {step: losses for step, *losses in whole}


@pytest.mark.slow
def test_both_tasks_are_learned_in_one_run_and_exported(make, tmp_path, trunk_folder):
    import mtgen

    trainer = make("learn", 40, lr=1e-2, low_rank_lr=1e-2, prompt_dropout=0.0)
    trainer.run()
    losses = curve(tmp_path / "learn")
    for task in (1, 2):
        first, last = (sum(line[task] for line in part) for part in (losses[:5], losses[-5:]))
        assert last < 0.8 * first
    assert (tmp_path / "learn" / TRANSLATION_EXPERT).is_file()
    assert list((tmp_path / "learn").glob("samples-*.png"))
    pipeline = mtgen.load(trunk_folder, weights=tmp_path / "learn", progress=False)
    assert pipeline.image("a red axe", seed=1).images[0].size == (256, 256)


@pytest.mark.slow
def test_the_tokenizer_is_learned_and_drawn_beside_what_the_autoencoder_makes(make, tmp_path):
    weights = {"tokens_weight": 1.0, "image_weight": 0.0, "translate_weight": 0.0}
    trainer = make("tokens", 30, lr=1e-2, **weights)
    trainer.sources.validation, trainer.sources.pairs = trainer.sources.pictures, None
    last = trainer.run()
    assert last["loss/validation"] < 1.2  # ln 4 = 1.39 at the start
    assert (
        read_weights(tmp_path / "tokens" / PICTURE_TOKENIZER, PictureTokenizerConfig)[0] == TOKENS
    )
    assert list((tmp_path / "tokens").glob("samples-*.png"))


def test_the_decoder_alone_learns_while_tokens_stay(make, tmp_path):
    weights = {"tokens_weight": 1.0, "image_weight": 0.0, "translate_weight": 0.0}
    trainer = make("decoder", 3, decoder_only=True, **weights)
    trainer.sources.pairs = None
    before = {k: v.clone() for k, v in trainer.experts.picture_tokenizer.state_dict().items()}
    trainer.run()
    after = load_picture_tokenizer(
        trainer.experts.trunk.config, tmp_path / "decoder" / PICTURE_TOKENIZER
    ).state_dict()
    changed = {k.split(".")[0] for k, v in before.items() if not torch.allclose(v, after[k], 1e-2)}
    assert "head" in changed
    assert not changed & {"embed", "encoder_position", "encoder", "encoder_norm", "to_tokens"}


@pytest.mark.slow
def test_the_decoder_alone_goes_on_from_a_tokenizer(shell, trunk_folder, packed, tmp_path):
    flags = ["--steps", 1, "--preset", "tiny", "--pack", packed, "--trunk", trunk_folder]
    done = shell("-m", "mtgen.train", *flags, "--decoder-only", "--out", tmp_path)
    assert done.returncode
    assert "add --tokens-weight 1 --image-weight 0" in done.stderr
    flags += ["--tokens-weight", 1, "--image-weight", 0, "--translate-weight", 0]
    done = shell("-m", "mtgen.train", *flags, "--decoder-only", "--out", tmp_path)
    assert done.returncode
    assert "goes on from a tokenizer; name its folder: --weights" in done.stderr


def test_a_run_of_other_experts_is_not_resumed(make, tmp_path):
    make("mixed", 1).run()
    with pytest.raises(BadRequestError, match="is of a run with other experts"):
        make("mixed", 1, translate_weight=0.0)
    (tmp_path / "mixed" / STATE).write_bytes(b"broken")
    with pytest.raises(BadRequestError, match="cannot be read .* delete it to start anew"):
        make("mixed", 1)


def test_a_lower_rate_counts_after_resuming(make):
    make("rates", 1, lr=1e-3).run()
    resumed = make("rates", 2, lr=1e-4)
    groups = [group for optimizer in resumed.optimizers for group in optimizer.param_groups]
    assert {group["peak"] for group in groups} == {1e-4, resumed.config.low_rank_lr}


def test_a_checkpoint_of_another_shape_is_not_resumed(make):
    make("shape", 1).run()
    with pytest.raises(BadRequestError, match="is of a run with other experts"):
        make("shape", 1, image=dataclasses.replace(IMAGE, n_ff=128))


def test_prepared_batches_are_kept_only_to_be_used_again(make):
    assert make("once", 1, reuse=1).ring.maxlen == 1
    assert make("twice", 1, reuse=2).ring.maxlen > 1


def test_an_unfrozen_trunk_learns_and_is_written_for_the_expert_that_reads_it(make, tmp_path):
    trainer = make("both", 6, unfreeze=True, trunk_lr=1e-2, translate_weight=0.0, ema=0.0)
    trainer.sources.validation, trainer.sources.pairs = trainer.sources.pictures, None
    assert math.isfinite(trainer.run()["loss/validation"])
    written = TrunkModel.from_dir(tmp_path / "both" / TRUNK)
    assert not torch.equal(
        written.embedding, TrunkModel.from_dir(trainer.experts.trunk.folder).embedding
    )
    for name, tensor in trainer.averaged("trunk").items():
        assert torch.allclose(tensor, written.state_dict()[name], atol=1e-2), name
    pipeline = mtgen.load(tmp_path / "both" / TRUNK, weights=tmp_path / "both", progress=False)
    assert pipeline.image("a red axe", seed=1).images
    stepped = {parameter for optimizer in trainer.optimizers for parameter in optimizer.state}
    unused = [name for name, parameter in trainer.trained.items() if parameter not in stepped]
    assert not unused  # several processes would wait for their gradients


def test_a_run_goes_on_with_its_own_settings_alone(tmp_path):
    settings = {"lr": 1e-3, "styles": ["noto"], "weights": {"autoencoder.safetensors": "a"}}
    keep_settings(tmp_path, settings)
    keep_settings(tmp_path, {**settings, "styles": ["twemoji"]})  # nothing has been trained yet
    (tmp_path / STATE).write_bytes(b"state")
    keep_settings(tmp_path, {**settings, "styles": ["twemoji"], "lr": 1e-4})
    with pytest.raises(BadRequestError, match=r"other settings \(styles, weights\)"):
        keep_settings(tmp_path, {**settings, "weights": {"autoencoder.safetensors": "b"}})


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--minutes", 0], "minutes must be a number above 0"),
        (["--minutes", "nan"], "minutes must be a number above 0"),
        (["--steps", -1], "steps must be a whole number from 1"),
        (["--steps", 1, "--seed", -1], "seed must be from 0"),
        (["--steps", 1, "--workers", -1], "workers must be a whole number from 0"),
    ],
)
def test_flags_that_make_no_sense_are_one_sentence(flags, sentence, capsys):
    assert run(main, list(map(str, flags))) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(
    shell, trunk_folder, weights, packed, pairs, tmp_path
):
    common = [
        "-m", "mtgen.train", "--steps", 4, "--preset", "tiny", "--cpu", "--precision", "float32",
        "--pack", packed, "--weights", weights, "--trunk", trunk_folder, "--size-px", SIZE_PX,
        "--workers", 0, "--translate-weight", 0, "--sheet-minutes", 1000,
    ]  # fmt: skip
    one = shell(*common, "--out", tmp_path / "one", "--image-batch", 8, timeout=300)
    assert one.returncode == 0, one.stderr
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", 2]
    two = shell(*launch, *common, "--out", tmp_path / "two", "--image-batch", 4, timeout=300)
    assert two.returncode == 0, two.stderr
    for alone, together in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert together[:2] == pytest.approx(alone[:2], rel=1e-4)
    assert '"processes": 2' in (tmp_path / "two" / METRICS).read_text("utf-8")


def test_the_rate_rises_stays_and_falls_to_nothing():
    config = preset("tiny", warmup=0.1, decay=0.4)
    shares = [lr_share(done / 100, config) for done in range(101)]
    assert shares[0] < 0.01
    assert shares[10:60] == [1.0] * 50
    assert shares[80] == pytest.approx(0.5)
    assert shares[100] == 0


def test_pairs_are_batched_in_both_directions_and_only_targets_count(pairs, trunk_folder):
    tokenizer = ChatTokenizer(trunk_folder)
    stream = TranslationStream(CsvPairs(pairs, tokenizer), tokenizer, 4, Share(), 0)
    texts = set()
    for step in range(8):
        batch = stream(step)
        for row, ids in enumerate(batch.ids):
            mine = batch.places // len(ids) == row
            learned = batch.targets[mine]
            assert int(learned[-1]) in tokenizer.eos_ids
            given = int(batch.places[mine][0]) % len(ids) + 1
            head = tokenizer.decode(ids[:given].tolist())
            texts.add((head, tokenizer.decode(learned.tolist())))
    assert ("English to German:\nThe dog runs.\n", "Der Hund läuft.") in texts
    assert ("German to English:\nDer Hund läuft.\n", "The dog runs.") in texts


def test_batches_of_long_pairs_hold_fewer(trunk_folder, tmp_path):
    path = tmp_path / "pairs.csv"
    rows = ["en,de", *(f"{'a' * n},{'b' * n}" for n in (2, 4, 8, 16, 32, 40))]
    path.write_text("\n".join(rows), "utf-8")
    tokenizer = ChatTokenizer(trunk_folder)
    stream = TranslationStream(CsvPairs(path, tokenizer), tokenizer, 8, Share(), 0)
    batches = [stream(step) for step in range(64)]
    sizes = [len(batch.ids) for batch in batches]
    assert sum(sizes) == 64 * 8
    tokens = [batch.ids.numel() for batch in batches]
    assert max(sizes) > 2 * min(sizes)
    assert max(tokens) < 2 * min(tokens)


def test_processes_share_a_step_of_pairs(pairs, trunk_folder):
    tokenizer = ChatTokenizer(trunk_folder)
    source = CsvPairs(pairs, tokenizer)
    whole = TranslationStream(source, tokenizer, 4, Share(), 0)(3)
    halves = [TranslationStream(source, tokenizer, 2, Share(rank, 2), 0)(3) for rank in (0, 1)]
    mine = sorted(row[row > 0].tolist() for half in halves for row in half.ids)
    assert mine == sorted(row[row > 0].tolist() for row in whole.ids)


def test_own_pictures_are_read_with_their_captions(tmp_path):
    from PIL import Image

    for name, colour in (("a.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (90, 60), colour).save(tmp_path / name)
    with pytest.raises(BadRequestError, match="has no captioned pictures"):
        captioned(tmp_path)
    (tmp_path / "a.txt").write_text("a red page")
    assert [text for _, text in captioned(tmp_path)] == ["a red page"]
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,red\nb.jpg,blue\n")
    stream = folder_pictures(tmp_path, 4, Share(), num_workers=0, size_px=32, seed=0)
    pixels, captions = next(stream(0))
    assert pixels.shape == (4, 3, 32, 32)
    assert sorted(captions) == ["blue", "blue", "red", "red"]
    by_caption = dict(zip(captions, pixels, strict=True))
    assert by_caption["red"][0].float().mean() > 250
    (tmp_path / "metadata.csv").write_text("file_name,text\nc.png,green\n")
    with pytest.raises(BadRequestError, match="names c.png, which is not in"):
        captioned(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,\n")
    with pytest.raises(BadRequestError, match="row 1 .* lacks a file name or a text"):
        captioned(tmp_path)
    (tmp_path / "metadata.csv").write_bytes("file_name,text\na.png,Löwe\n".encode("latin-1"))
    with pytest.raises(BadRequestError, match="metadata.csv is not UTF-8"):
        captioned(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    for content in ("{", '["a.png", "red"]'):
        (tmp_path / "metadata.jsonl").write_text(content)
        with pytest.raises(BadRequestError, match="is not one JSON object a line"):
            captioned(tmp_path)
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "b.txt").write_text("")
    with pytest.raises(BadRequestError, match="b.txt lacks a file name or a text"):
        captioned(tmp_path)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_picture_of_ones_own_is_one_sentence(tmp_path, num_workers):
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "a.txt").write_text("a lion")
    stream = folder_pictures(tmp_path, 2, Share(), num_workers=num_workers, size_px=32, seed=0)
    with pytest.raises(BadRequestError, match=r"^[^\n]*a.png cannot be read as a picture[^\n]*$"):
        next(stream(0))


def test_photographs_stand_upright(tmp_path):
    from PIL import Image

    lying = Image.new("RGB", (64, 32), "red")
    lying.paste("blue", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    lying.save(tmp_path / "a.png", exif=exif)
    pixels = read_square(tmp_path / "a.png", 16)
    assert pixels[2, 0].float().mean() > 250 > 5 > pixels[2, -1].float().mean()


def test_own_pairs_need_two_languages(tmp_path, trunk_folder):
    path = tmp_path / "pairs.csv"
    path.write_text("en,nl\nyes,ja\n")
    with pytest.raises(BadRequestError, match="must have two columns named by language"):
        CsvPairs(path, ChatTokenizer(trunk_folder))
    path.write_text("en,de\n")
    with pytest.raises(BadRequestError, match="holds no sentence pair"):
        CsvPairs(path, ChatTokenizer(trunk_folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_weight": 0.0, "translate_weight": 0.0}, "one must be above"),
        ({"text_weight": 1.0}, "add --unfreeze"),
        ({"tokens_weight": 1.0}, "train with --tokens-weight 1 --image-weight 0 first"),
        ({"reuse": 0}, "reuse must be at least 1"),
        ({"ema": 1.0}, "ema must be from 0 to below 1"),
        ({"warmup": 0.7, "decay": 0.7}, "are more than the whole run"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        preset("tiny", **changes)


def test_unknown_presets_and_settings_are_named():
    with pytest.raises(UnknownNameError, match="no preset named 'smal'. Did you mean 'small'"):
        preset("smal")
    with pytest.raises(UnknownNameError, match="no setting named 'learning_rate'"):
        preset("tiny", learning_rate=1.0)
