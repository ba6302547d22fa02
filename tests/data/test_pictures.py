"""The set of pictures, from tiny packages that the tests draw themselves, to the trainer's door."""

from __future__ import annotations

import io
import json
import random
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from mtgen.data.build import BuildOptions
from mtgen.data.check import check
from mtgen.data.images.build import build, lookalike
from mtgen.data.images.held_out import HeldOut
from mtgen.data.images.lexicon import Lexicon
from mtgen.data.images.mixture import SHARES, PictureMixture, open_mixture
from mtgen.data.images.names import CLDR, EMOJI, clean_codepoints
from mtgen.data.images.people import gender_of, roles, without_tone
from mtgen.data.images.render import NotAPictureError, encode, rasterise, squared
from mtgen.data.images.sources import EMOJI_SETS, SOURCES, STYLES, in_words
from mtgen.data.loader import picture_loader
from mtgen.data.pack import MAX_FILE_BYTES, pack
from mtgen.data.packed import Packed
from mtgen.errors import BadRequestError, CorruptedFileError, SettingError, UnknownNameError
from tests.data.tiny import tiny_store

NAMES = {
    "1f34e": ("red apple", "pomme rouge", "roter Apfel", "manzana roja"),
    "1f697": ("automobile", "voiture", "Auto", "coche"),
    "1f415": ("dog", "chien", "Hund", "perro"),
    "2b50": ("star", "étoile", "Stern", "estrella"),
    "1f600": ("grinning face", "visage rieur", "grinsendes Gesicht", "cara sonriendo"),
    "1f1eb-1f1f7": ("flag: France", "drapeau : France", "Flagge: Frankreich", "bandera: Francia"),
    "1f9d1-200d-2695": ("health worker", "professionnel de la santé", "Arzt", "médico"),
    "1f468-200d-2695": ("man health worker", "soignant", "Arzt", "médico"),
    "1f469-200d-2695": ("woman health worker", "soignante", "Ärztin", "médica"),
    "1fa93": ("axe", "hache", "Axt", "hacha"),
    "1f44d": ("thumbs up", "pouce", "Daumen hoch", "pulgar"),
}
TONES = ("1f3fb", "1f3ff")


def char(code):
    return "".join(chr(int(part, 16)) for part in code.split("-"))


def shape(colour, number):
    """A shape of its own for every number, as SVG."""
    return (
        f'<circle cx="16" cy="16" r="{9 + number % 5}" fill="{colour}"/>'
        f'<rect x="{2 + number % 20}" y="3" width="6" height="{3 + number % 7}" fill="{colour}"/>'
    )


def icon_package(colours, *, with_people):
    """An Iconify package: one shape for each name, people in all genders and two tones."""
    icons, chars = {}, {}
    for number, code in enumerate(NAMES):
        variants = [code]
        if with_people and code.endswith("2695"):
            first, rest = code.split("-", 1)
            variants += [f"{first}-{tone}-{rest}" for tone in TONES]
        if with_people and code == "1f44d":
            variants.append("1f44d-1f3fb")
        for place, variant in enumerate(variants):
            key = f"icon-{variant}"
            colour = colours[(number + place) % len(colours)]
            icons[key] = {"body": shape(colour, number * 3 + place)}
            chars[variant] = key
    icons["blank"] = {"body": '<rect width="0" height="0"/>'}
    icons["a-brand"] = {"body": shape("#000", 1)}
    chars["2049"] = "blank"
    chars["e0ff"] = "a-brand"
    data = {"icons": icons, "width": 32, "height": 32}
    return {"icons.json": json.dumps(data), "chars.json": json.dumps(chars)}


def annotations(lang):
    place = ("en", "fr", "de", "es").index(lang)
    table = {
        char(code): {"tts": [names[place]], "default": [f"keyword{place}"]}
        for code, names in NAMES.items()
    }
    return json.dumps({"annotations": {"annotations": table}})


def picture_store(folder):
    emoji = {
        char(code): {"name": names[0], "group": "Flags" if "flag" in names[0] else "Objects"}
        for code, names in NAMES.items()
    }
    emoji[char("2049")] = {"name": "exclamation question mark", "group": "Symbols"}
    cldr = {
        f"annotations/{lang}/annotations.json": annotations(lang)
        for lang in ("en", "fr", "de", "es")
    }

    def icons(first):
        shapes = {
            name: {"body": shape("#000", first + n)} for n, name in enumerate(["axe", "abstract-1"])
        }
        return {"icons.json": json.dumps({"icons": shapes, "width": 32, "height": 32})}

    return tiny_store(
        folder,
        {
            CLDR[0]: cldr,
            CLDR[1]: {},
            EMOJI: {"data-by-emoji.json": json.dumps(emoji)},
            "npm:@iconify-json/noto": icon_package(["#d22", "#22c", "#2a2"], with_people=True),
            "npm:@iconify-json/twemoji": icon_package(["#e80", "#a3c"], with_people=True),
            "npm:@iconify-json/openmoji": icon_package(["#e80", "#a3c"], with_people=True),
            "npm:@iconify-json/game-icons": icons(0),
            "npm:@iconify-json/flat-color-icons": icons(3),
        },
    )


BUILT = ["noto", "twemoji", "openmoji", "game-icons", "flat-color-icons"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A tiny set, built and packed: output folder, packed folder, manifest."""
    folder = tmp_path_factory.mktemp("pictures")
    store = picture_store(folder / "packages")
    options = BuildOptions(out=folder / "out", only=BUILT, workers=1, progress=False)
    manifest, missing = build(options, store)
    assert not missing
    pack("images", folder / "out", folder / "pack", seed=3)
    return folder / "out", folder / "pack", manifest


def rows(out):
    return [
        row
        for path in sorted((out / "images").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def test_pictures_are_rendered_named_and_classified(pictures):
    out, _, manifest = pictures
    found = {row["id"]: row for row in rows(out)}
    apple = found["noto/icon-1f34e"]
    with Image.open(io.BytesIO(apple["image"]["bytes"])) as picture:
        assert picture.size == (256, 256)
        assert picture.mode == "RGBA"
        assert np.asarray(picture)[0, 0, 3] == 0
    assert apple["names"]["en"][0] == "apple"  # our everyday word comes before CLDR's
    assert apple["names"]["en"][-1] == "red apple"
    assert apple["names"]["fr"][0] == "pomme"
    assert apple["keywords"]["de"] == ["keyword2"]
    assert apple["colour"] == "red"
    assert "blue" in apple["recolours"]
    assert apple["licence"] == "Apache-2.0"
    flag = found["noto/icon-1f1eb-1f1f7"]
    assert flag["weight"] < apple["weight"]
    counts = {s["name"]: s["counts"] for s in manifest["sources"]}
    assert counts["noto"]["blank"] == 1
    assert counts["noto"]["toned_hands"] == 1
    assert "noto/a-brand" not in found
    assert "flat-color-icons/abstract-1" not in found


def test_people_carry_gender_and_tone(pictures):
    found = {row["codepoints"]: row for row in rows(pictures[0]) if row["source"] == "noto"}
    woman = found["1f469-1f3ff-200d-2695"]
    assert woman["group"] == "Objects"
    assert (woman["person"], woman["gender"], woman["tone"]) == ("1f9d1-200d-2695", "woman", "dark")
    assert found["1f9d1-200d-2695"]["gender"] == "neutral"
    assert found["1f9d1-200d-2695"]["tone"] is None
    assert found["1f34e"]["person"] is None


def test_pixel_equal_pictures_are_kept_once(pictures):
    out, _, manifest = pictures
    equal = manifest["stages"]["pixel_equal"]
    assert equal >= len(NAMES)  # openmoji's drawings are twemoji's here
    digests = [row["pixels_sha256"] for row in rows(out)]
    assert len(set(digests)) == len(digests)


def test_concepts_are_held_out_in_their_style_and_their_equals_with_them(pictures):
    out, _, manifest = pictures
    held = HeldOut.read().styles
    assert manifest["stages"]["held_out"] > 0
    away = pq.read_table(out / "images/held_out.parquet").to_pylist()
    assert all((row["concept"], row["source"]) in held for row in away)
    kept = [
        row
        for path in (out / "images").glob("train-*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    assert not {(row["concept"], row["source"]) for row in kept} & held
    assert not {row["pixels_sha256"] for row in kept} & {row["pixels_sha256"] for row in away}
    assert "held-out concepts" in check(out)["sets"]["images"]


def test_a_held_out_colour_of_a_noun_is_never_drawn(mixture):
    held = HeldOut.read().counts
    assert held
    mixture.held_out = HeldOut(counts=frozenset({("1fa93", "red", 1), ("1fa93", "blue", 1)}))
    try:
        axes = [mixture.silhouette(random.Random(n), "en", row) for n in range(200)
                for row in mixture.silhouettes.things]  # fmt: skip
    finally:
        mixture.held_out = HeldOut.read()
    colours = {sample.truth["colour"] for sample in axes if sample.truth["concept"] == "1fa93"}
    assert {"green", "white"} <= colours
    assert not {"red", "blue"} & colours


def test_datasets_shows_the_pictures(pictures):
    import datasets

    path = next((pictures[0] / "images").glob("train-*.parquet"))
    loaded = datasets.Dataset.from_parquet(str(path), keep_in_memory=True)
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded[0]["image"].size == (256, 256)


def test_the_workers_do_not_change_the_pictures(pictures, tmp_path):
    store = picture_store(tmp_path / "packages")
    options = BuildOptions(out=tmp_path / "out", only=BUILT, workers=2, progress=False)
    manifest, _ = build(options, store)
    assert manifest["files"] == pictures[2]["files"]


def test_packed_pictures_are_mapped_and_bounded(pictures):
    _, folder, manifest = pictures
    packed = Packed(folder, "images")
    assert len(packed) == manifest["stages"]["train"]
    with Image.open(io.BytesIO(packed.webp(0))) as picture:
        assert picture.size == (256, 256)
    assert all(path.stat().st_size <= MAX_FILE_BYTES for path in folder.glob("*.arrow"))
    assert sorted(packed.column("id")) == sorted(
        row["id"]
        for path in (pictures[0] / "images").glob("train-*.parquet")
        for row in pq.read_table(path, columns=["id"]).to_pylist()
    )
    with pytest.raises(IndexError, match="row"):
        packed.place(len(packed))
    with pytest.raises(BadRequestError, match="holds no packed text"):
        Packed(folder, "text")


def test_a_packed_file_that_was_cut_off_is_named(pictures, tmp_path):
    for path in pictures[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:1000])
    (tmp_path / "pack.json").write_bytes((pictures[1] / "pack.json").read_bytes())
    with pytest.raises(CorruptedFileError, match=r"images-00000.arrow is missing or cut off"):
        Packed(tmp_path, "images")


@pytest.fixture(scope="module")
def mixture(pictures):
    return open_mixture(pictures[1], size_px=64, seed=5)


def test_samples_are_the_same_whenever_they_are_drawn(mixture, pictures):
    again = PictureMixture(Packed(pictures[1], "images"), size_px=64, seed=5)
    for number in (7, 3, 50):
        one, two = mixture.sample(number), again.sample(number)
        assert one.caption == two.caption
        assert np.array_equal(one.pixels, two.pixels)
        assert one.pixels.shape == (64, 64, 3)
        assert one.truth == two.truth


def test_the_mixture_keeps_its_shares_and_languages(mixture):
    samples = [mixture.sample(number) for number in range(800)]
    kinds = Counter(sample.kind for sample in samples)
    for kind, share in SHARES.items():
        assert abs(kinds[kind] / 800 - share) < 0.07
    langs = Counter(sample.lang for sample in samples)
    assert 0.65 < langs["en"] / 800 < 0.9
    assert set(langs) == {"en", "fr", "de", "es"}
    assert all(sample.caption == sample.caption.strip() for sample in samples)


def test_a_trade_is_drawn_evenly_as_man_woman_and_neutral_and_in_every_tone(pictures):
    mixture = open_mixture(pictures[1], size_px=32, shares={"concept": 1.0})
    drawn = [mixture.sample(number) for number in range(3000)]
    doctors = [sample for sample in drawn if sample.caption.startswith("a doctor")]
    assert len(doctors) > 80
    genders = Counter(sample.truth["gender"] for sample in doctors)
    neutral_share = genders["neutral"] / len(doctors)
    assert genders["man"] + genders["woman"] > 0
    # captions that name a gender take their part of man and woman: 60% of those remain
    expected = 1 / (1 + 2 * 0.6)
    assert abs(neutral_share - expected) < 0.13
    assert abs(genders["man"] - genders["woman"]) / len(doctors) < 0.2
    tones = Counter(sample.truth["tone"] for sample in doctors)
    assert set(tones) == {None, "light", "dark"}
    assert max(tones.values()) < 2 * min(tones.values())
    for sample in drawn:
        if sample.caption.startswith("a female doctor"):
            assert sample.truth["gender"] == "woman"


def test_a_mixture_of_some_styles_draws_those_alone(pictures):
    packed = Packed(pictures[1], "images")
    style = packed.column("source")[0]
    some = PictureMixture(packed, size_px=64, styles=(style,), shares={"concept": 1})
    for number in range(60):
        assert some.sample(number).truth["style"] == style


def test_tidy_single_things_are_of_one_size_in_the_middle(pictures):
    packed = Packed(pictures[1], "images")
    tidy = PictureMixture(packed, size_px=256, tidy=True, shares={"concept": 1})
    for number in range(40):
        x0, y0, x1, y1 = tidy.sample(number).truth["box"]
        assert max(x1 - x0, y1 - y0) == 210
        assert abs(x0 + x1 - 256) <= 2
        assert abs(y0 + y1 - 256) <= 2


def test_tidy_single_things_are_mostly_everyday_nouns(pictures):
    packed = Packed(pictures[1], "images")
    everyday = {}
    for tidy in (False, True):
        mixture = PictureMixture(packed, size_px=64, tidy=tidy, shares={"concept": 1})
        truths = [mixture.sample(number).truth for number in range(300)]
        everyday[tidy] = sum(t["concept"] in mixture.lexicon for t in truths) / len(truths)
    assert everyday[True] > everyday[False] + 0.1


def test_tidy_pictures_are_captioned_in_all_languages_about_alike(pictures):
    mixture = PictureMixture(Packed(pictures[1], "images"), size_px=64, tidy=True)
    counts = Counter(mixture.sample(number).lang for number in range(200))
    assert set(counts) == {"en", "fr", "de", "es"}
    assert min(counts.values()) > 15
    assert counts["en"] < 130


def test_a_mixture_refuses_what_it_cannot_draw(pictures):
    packed = Packed(pictures[1], "images")
    with pytest.raises(UnknownNameError, match="no style among the packed pictures named 'cubist'"):
        PictureMixture(packed, styles=("cubist",))
    with pytest.raises(UnknownNameError, match="no kind of picture named 'photo'"):
        PictureMixture(packed, shares={"photo": 1})
    with pytest.raises(SettingError, match="no kind of picture has both a share above 0"):
        PictureMixture(packed, shares={"concept": 0})


def test_the_loader_gives_the_same_batches_whatever_its_workers_and_resumes(pictures):
    def batches(**options):
        loader = picture_loader(pictures[1], batch_size=4, num_batches=5, size_px=64, **options)
        return [(batch["pixels"].numpy(), batch["captions"]) for batch in loader]

    alone, together = batches(num_workers=0), batches(num_workers=2)
    assert len(alone) == len(together) == 5
    assert alone[0][0].shape == (4, 3, 64, 64)
    for (pixels, captions), (other_pixels, other_captions) in zip(alone, together, strict=True):
        assert np.array_equal(pixels, other_pixels)
        assert captions == other_captions
    resumed = batches(num_workers=0, first_batch=3)
    assert [captions for _, captions in resumed] == [captions for _, captions in alone[3:]]


def test_every_source_has_words_for_its_style_in_four_languages():
    assert {source.name for source in SOURCES} == set(STYLES)
    assert len(EMOJI_SETS) == 11
    for words in STYLES.values():
        assert set(words) == {"en", "fr", "de", "es"}
        assert len({len(options) for options in words.values()}) == 1


def test_roles_are_whole_and_said_in_four_languages():
    everyone = {role.concept: role for role in roles().values()}
    assert len(everyone) >= 30
    doctor = everyone["1f9d1-200d-2695"]
    assert doctor.caption("en", None) == "a doctor"
    assert doctor.caption("en", "woman") == "a female doctor"
    assert doctor.caption("de", "woman") == "eine Ärztin"
    assert doctor.caption("fr", None) == "un médecin"
    assert everyone["1f9d1-200d-1f3ed"].caption("es", "woman") == "una obrera"
    assert gender_of("1f468-200d-2695") == "man"
    assert gender_of("1f34e") is None
    assert not set(roles()) & {noun.codepoints for noun in Lexicon.read()}


def test_code_points_are_written_one_way():
    assert clean_codepoints("0023-FE0F-20E3") == "23-20e3"
    assert without_tone("1f9d1-1f3ff-200d-2695") == ("1f9d1-200d-2695", "dark")
    assert without_tone("1f469-1f3fb-200d-1f468-1f3ff") == ("1f469-200d-1f468", "mixed")
    assert in_words("clinking-glasses-2") == "clinking glasses"


def test_art_that_shows_nothing_is_no_picture():
    with pytest.raises(NotAPictureError, match="nothing is visible"):
        encode(Image.new("RGBA", (256, 256)))
    with pytest.raises(NotAPictureError, match="cannot be rendered"):
        rasterise("<svg>")
    with pytest.raises(NotAPictureError, match="nothing is visible"):
        squared(Image.new("RGBA", (64, 64)), crop=True)


def test_art_is_centred_in_a_square_without_dark_edges():
    art = Image.new("RGBA", (300, 100))
    ImageDraw.Draw(art).ellipse((100, 20, 180, 80), fill=(255, 200, 0, 255))
    picture = squared(art, crop=True)
    assert picture.size == (256, 256)
    left, top, right, bottom = picture.getchannel("A").point([0] * 128 + [255] * 128).getbbox()
    assert abs((left + right) / 2 - 128) < 2
    assert abs((top + bottom) / 2 - 128) < 2
    assert right - left > 230
    rgba = np.asarray(picture)
    edge = rgba[(rgba[..., 3] > 20) & (rgba[..., 3] < 235)]
    assert edge[:, 0].min() > 240  # the transparent black around did not bleed in


def test_lookalikes_differ_in_few_bits():
    one = Image.new("RGBA", (256, 256))
    ImageDraw.Draw(one).ellipse((40, 60, 200, 180), fill=(200, 30, 30, 255))
    near = Image.new("RGBA", (256, 256))
    ImageDraw.Draw(near).ellipse((42, 60, 201, 181), fill=(190, 40, 30, 255))
    other = Image.new("RGBA", (256, 256))
    ImageDraw.Draw(other).rectangle((0, 150, 90, 250), fill=(30, 30, 200, 255))

    def bits(a, b):
        return int(np.bitwise_count(np.uint64(lookalike(a) % 2**64 ^ lookalike(b) % 2**64)))

    assert bits(one, near) <= 4
    assert bits(one, other) > 4
