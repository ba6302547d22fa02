from __future__ import annotations

import io
import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mtgen.data.images.colours import dominant_colour
from mtgen.data.images.grammar import MIRRORED
from mtgen.data.images.held_out import NUM_COMBINATIONS, HeldOut, draw_held_out, write_held_out
from mtgen.data.images.layouts import TIDY_CELLS
from mtgen.data.images.lexicon import LANGS, Lexicon
from mtgen.data.images.scenes import (
    CATEGORIES,
    RELATION_MARGIN,
    SIZE_RATIO,
    SceneComposer,
    Sprite,
    SpriteStore,
    seen_relation,
)
from mtgen.errors import SettingError, UnknownNameError
from tests.data.test_grammar import CODES, SAMPLE

PAINTS = ("#d32f2f", "#1e88e5", "#43a047", "#8e24aa", "#fdd835", "#6d4c41")
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "1": 1, "2": 2}


def drawn(index: int, style: str) -> bytes:
    """A shape of its own for each concept, filled or, in the style "lined", outlined too."""
    picture = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    fill, line = PAINTS[index % len(PAINTS)], "#111111" if style == "lined" else None
    if index % 3 == 0:
        pen.ellipse((30, 40, 226, 216), fill=fill, outline=line, width=6)
    elif index % 3 == 1:
        pen.rectangle((20, 60, 236, 200), fill=fill, outline=line, width=6)
    else:
        pen.polygon((128, 20, 200, 230, 50, 230), fill=fill, outline=line, width=6)
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True)
    return data.getvalue()


@pytest.fixture(scope="module")
def sprites() -> list[Sprite]:
    return [
        Sprite.from_webp(codepoints, style, drawn(index, style))
        for style in ("flat", "lined")
        for index, codepoints in enumerate(CODES.values())
    ]


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory) -> Lexicon:
    path = tmp_path_factory.mktemp("lexicon") / "nouns.tsv"
    path.write_text(SAMPLE, "utf-8")
    return Lexicon.read(path)


@pytest.fixture(scope="module")
def composer(sprites, lexicon) -> SceneComposer:
    return SceneComposer(SpriteStore(sprites), lexicon, exclude_held_out=False)


def scenes(composer: SceneComposer, category: str | None = None, count: int = 60):
    return [composer.scene(seed, category) for seed in range(count)]


def inside(boxes, size_px: int = 256):
    """The union of boxes as a mask."""
    mask = np.zeros((size_px, size_px), bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


# --- what any scene keeps ----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_whatever_was_made_before(sprites, lexicon, composer):
    scenes(composer)
    other = SceneComposer(SpriteStore(sprites, cache_mb=1), lexicon, exclude_held_out=False)
    for seed in (5, 3, 40, 3):
        (a, first), (b, second) = composer.scene(seed), other.scene(seed)
        assert a.tobytes() == b.tobytes()
        assert first == second


def test_different_seeds_give_different_scenes(composer):
    assert len({picture.tobytes() for picture, _ in scenes(composer)}) == 60


def test_pictures_are_rgb_of_the_size_asked_for(sprites, lexicon):
    small = SceneComposer(SpriteStore(sprites), lexicon, size_px=64, exclude_held_out=False)
    for category in CATEGORIES:
        picture, scene = small.scene(1, category)
        assert (picture.shape, picture.dtype) == ((64, 64, 3), np.uint8)
        assert all(0 <= o.box[0] < o.box[2] <= 64 for o in scene.objects)


def test_captions_do_not_depend_on_which_languages_are_asked_for(composer):
    for seed in range(10):
        everything = composer.scene(seed)[1].captions
        assert set(everything) == set(LANGS)
        assert composer.scene(seed, None, ("de",))[1].captions == {"de": everything["de"]}


def test_a_scene_can_be_written_as_json(composer):
    scene = composer.scene(3, "position")[1]
    data = json.loads(json.dumps(scene.to_dict()))
    assert data["category"] == "position"
    assert data["relation"][1] == scene.relation[1]
    assert data["objects"][0]["box"] == list(scene.objects[0].box)


def test_the_sprites_of_a_scene_share_a_style(composer):
    for _, scene in scenes(composer):
        assert {item.style for item in scene.objects} == {scene.style}


def test_styles_too_small_for_a_pair_are_mixed_and_then_not_named(lexicon):
    alone = [
        Sprite.from_webp(code, f"style {i}", drawn(i, "flat"))
        for i, code in enumerate(list(CODES.values())[:4])
    ]
    words = {f"style {i}": {"en": f"in style {i}"} for i in range(4)}
    mixed = SceneComposer(SpriteStore(alone), lexicon, exclude_held_out=False, style_words=words)
    for _, scene in scenes(mixed, "two", 20):
        assert scene.style is None
        assert "style" not in scene.captions["en"]


def test_boxes_are_tight_around_what_is_painted(composer):
    for picture, scene in scenes(composer, count=120):
        if scene.background_kind != "plain":
            continue
        change = np.abs(picture.astype(int) - picture[0, 0].astype(int)).max(axis=-1)
        boxes = [item.box for item in scene.objects]
        assert change[~inside(boxes)].max() <= 130  # no more than half covered
        for x0, y0, x1, y1 in boxes:
            part = change[y0:y1, x0:x1] > 15
            assert all((part[:3].any(), part[-3:].any(), part[:, :3].any(), part[:, -3:].any()))


def test_no_objects_overlap(composer):
    for _, scene in scenes(composer, count=150):
        boxes = [item.box for item in scene.objects]
        assert inside(boxes).sum() == sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes)


def test_tidy_scenes_stand_in_squares_of_the_grid_on_plain_backgrounds(sprites, lexicon):
    tidy = SceneComposer(SpriteStore(sprites), lexicon, exclude_held_out=False, tidy=True)
    cell = 256 // TIDY_CELLS
    sizes = set()
    for _, scene in scenes(tidy, count=200):
        assert scene.background_kind == "plain"
        assert not any(item.is_flipped for item in scene.objects)
        boxes = [item.box for item in scene.objects]
        assert inside(boxes).sum() == sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes)
        for x0, y0, x1, y1 in boxes:
            long = max(x1 - x0, y1 - y0)
            side = next(s for s in (2, 4, 7) if long <= s * cell)
            sizes.add(side)
            middle = (x0 + x1) / 2, (y0 + y1) / 2
            corner = [(c - side * cell / 2) / cell for c in middle]
            wanted = [0.5, 0.5] if side == 7 else [round(c) for c in corner]
            assert np.abs(np.subtract(corner, wanted)).max() < 0.1
    assert sizes == {2, 4, 7}


def test_equal_things_have_equal_pixels_wherever_they_stand_in_tidy_scenes(sprites, lexicon):
    tidy = SceneComposer(SpriteStore(sprites), lexicon, exclude_held_out=False, tidy=True)
    for picture, scene in scenes(tidy, "counting", count=40):
        cuts = {
            picture[y0:y1, x0:x1].tobytes() for x0, y0, x1, y1 in (o.box for o in scene.objects)
        }
        assert len(cuts) == 1


def test_nothing_stands_on_its_own_colour(composer):
    for picture, scene in scenes(composer, count=120):
        if scene.background_kind == "plain":
            corner = np.full((4, 4, 4), 255, np.uint8)
            corner[..., :3] = picture[0, 0]
            assert dominant_colour(corner) == (scene.background, 1.0)
        assert scene.background not in {item.colour for item in scene.objects}


def test_a_background_that_is_said_is_plain(composer):
    said = [scene for _, scene in scenes(composer, count=200) if scene.is_background_said]
    assert said
    for scene in said:
        assert scene.background_kind == "plain"
        assert f"{scene.background} background" in scene.captions["en"]
    unsaid = [s for _, s in scenes(composer, count=200) if not s.is_background_said]
    assert not any("background" in s.captions["en"] for s in unsaid)


# --- the six categories ------------------------------------------------------------------------


def test_as_many_things_are_shown_as_are_counted(composer):
    counts = Counter()
    for _, scene in scenes(composer, "counting", 120):
        words = scene.captions["en"].split()
        said = next((NUMBERS.get(w) or int(w) for w in words if w in NUMBERS or w.isdigit()), None)
        assert said == len(scene.objects)
        assert len({(item.concept, item.sprite, item.colour) for item in scene.objects}) == 1
        counts[said] += 1
    assert set(counts) == {1, 2, 3, 4, 5, 6}


def test_a_relation_is_true_by_a_clear_margin(composer):
    seen = set()
    for _, scene in scenes(composer, "position", 120):
        subject, name, thing = scene.relation or (0, "", 0)
        ax, ay = centre(scene.objects[subject].box)
        bx, by = centre(scene.objects[thing].box)
        along = {"left_of": bx - ax, "right_of": ax - bx, "above": by - ay, "below": ay - by}[name]
        assert along > RELATION_MARGIN * 256
        assert not any(item.is_flipped for item in scene.objects)
        seen.add(name)
    assert seen == set(MIRRORED)


def centre(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def test_the_relation_is_the_one_in_the_caption(composer):
    words = {"left_of": "left", "right_of": "right", "above": "above|over|top"}
    words["below"] = "below|under|beneath|bottom"
    for _, scene in scenes(composer, "position", 80):
        assert re.search(words[str(scene.to_dict()["relation"][1])], scene.captions["en"])


@pytest.mark.parametrize("category", ["colours", "attribution"])
def test_things_have_the_colour_that_is_said(composer, category):
    painted = 0
    for picture, scene in scenes(composer, category, 80):
        for item in scene.objects:
            assert item.is_colour_said
            assert str(item.colour) in scene.captions["en"]
            x0, y0, x1, y1 = item.box
            part = np.full((y1 - y0, x1 - x0, 4), 255, np.uint8)
            part[..., :3] = picture[y0:y1, x0:x1]
            if scene.background_kind == "plain":  # what is left of the background goes
                part[..., 3][np.abs(part[..., :3].astype(int) - picture[0, 0]).max(-1) < 8] = 0
                assert dominant_colour(part)[0] == item.colour
                painted += 1
    assert painted > 30


def test_attribution_is_of_two_colours(composer):
    for _, scene in scenes(composer, "attribution"):
        assert len({item.colour for item in scene.objects}) == 2


def test_nouns_that_are_colours_are_given_none(composer):
    for category in ("colours", "attribution"):
        for _, scene in scenes(composer, category):
            assert CODES["orange"] not in {item.concept for item in scene.objects}


def test_colours_that_are_not_said_are_the_sprites_own(composer, sprites):
    for category in ("single", "two", "counting", "position"):
        for _, scene in scenes(composer, category, 30):
            for item in scene.objects:
                assert item.colour == sprites[item.sprite].colour
                assert not item.is_colour_said


def test_big_and_small_are_said_only_of_a_real_difference(composer):
    said = [s for _, s in scenes(composer, "two", 300) if s.objects[0].size]
    assert len(said) > 20
    for scene in said:
        area = {o.size: (o.box[2] - o.box[0]) * (o.box[3] - o.box[1]) for o in scene.objects}
        assert area["big"] >= SIZE_RATIO * area["small"]
        assert re.search("big .* small|small .* big", scene.captions["en"])


def test_next_to_is_said_only_of_things_at_one_height(composer):
    said = [s for _, s in scenes(composer, "two", 200) if re.search("next|beside", str(s.captions))]
    assert said
    for scene in said:
        (_, a0, _, a1), (_, b0, _, b1) = (item.box for item in scene.objects)
        assert min(a1, b1) > max(a0, b0)


def test_categories_come_in_the_shares_asked_for(sprites, lexicon):
    weights = {"single": 3, "counting": 1}
    composer = SceneComposer(
        SpriteStore(sprites), lexicon, exclude_held_out=False, weights=weights, size_px=32
    )
    counts = Counter(scene.category for _, scene in scenes(composer, count=400))
    assert set(counts) == {"single", "counting"}
    assert 0.68 < counts["single"] / 400 < 0.82


def test_style_words_are_said_of_their_style_only(sprites, lexicon):
    words = {"flat": {"en": "flat style", "fr": "style plat"}}
    composer = SceneComposer(
        SpriteStore(sprites), lexicon, exclude_held_out=False, style_words=words
    )
    found = Counter()
    for _, scene in scenes(composer, "single", 100):
        found[scene.style, scene.captions["en"].endswith(", flat style")] += 1
        assert scene.captions["fr"].endswith("style plat") == scene.captions["en"].endswith("style")
    assert found["flat", True]
    assert found["flat", False]
    assert not found["lined", True]


def test_half_of_the_sprites_are_mirrored_unless_forbidden(sprites, lexicon, composer):
    flips = Counter(s.objects[0].is_flipped for _, s in scenes(composer, "single", 200))
    assert 70 < flips[True] < 130
    for flipping, rigid_ones in ((False, ()), (True, set(CODES.values()))):
        rigid = SceneComposer(
            SpriteStore(sprites),
            lexicon,
            exclude_held_out=False,
            is_flipping=flipping,
            unflippable=rigid_ones,
        )
        assert not any(s.objects[0].is_flipped for _, s in scenes(rigid, "single", 40))


def test_relations_are_unclear_where_things_are_near_or_aslant():
    here = (100, 100, 120, 120)
    assert seen_relation(here, (180, 100, 200, 120), 256) == "left_of"
    assert seen_relation((180, 100, 200, 120), here, 256) == "right_of"
    assert seen_relation(here, (100, 180, 120, 200), 256) == "above"
    assert seen_relation(here, (130, 100, 150, 120), 256) is None
    assert seen_relation(here, (180, 180, 200, 200), 256) is None


# --- the store ---------------------------------------------------------------------------------


def test_the_cache_of_decoded_sprites_stays_within_its_bound(sprites, lexicon):
    store = SpriteStore(sprites, cache_mb=1)
    for _ in scenes(SceneComposer(store, lexicon, exclude_held_out=False), count=60):
        assert store.cached_mb <= 1


def test_the_store_groups_by_concept_and_style(sprites):
    store = SpriteStore(sprites)
    assert len(store) == 24
    assert len(store.in_style("flat")) == 12
    assert [sprites[i].style for i in store.by_concept[CODES["dog"]]] == ["flat", "lined"]
    with pytest.raises(UnknownNameError, match="no style named 'flet'. Did you mean 'flat'"):
        store.in_style("flet")


def test_sprites_know_their_colours(sprites):
    by_concept = {sprite.concept: sprite for sprite in sprites}
    dog = by_concept[CODES["dog"]]
    assert dog.colour == "red"
    assert "blue" in dog.recolours
    assert "red" not in dog.recolours


# --- held out ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    dog, cat, lion, apple = (CODES[name] for name in ("dog", "cat", "lion", "apple"))
    triples = {(dog, "left_of", cat), (lion, "above", apple), (cat, "below", lion)}
    return HeldOut(
        counts=frozenset(
            {(dog, "red", n) for n in (1, 3, 5)} | {(cat, "green", 1), (lion, "purple", 2)}
        ),
        relations=frozenset(triples | {(b, MIRRORED[r], a) for a, r, b in triples}),
        styles=frozenset({(apple, "lined")}),
    )


def shown(scene):
    """The (noun, colour, count) that a scene shows, said or not, and its (noun, style)."""
    groups = Counter((item.concept, item.colour) for item in scene.objects)
    counts = {(concept, colour, n) for (concept, colour), n in groups.items()}
    return counts, {(item.concept, item.style) for item in scene.objects}


def stated(scene):
    if not scene.relation:
        return None
    subject, relation, thing = scene.relation
    return scene.objects[subject].concept, relation, scene.objects[thing].concept


def test_what_is_held_out_is_never_shown(sprites, lexicon, held_out, composer):
    strict = SceneComposer(SpriteStore(sprites), lexicon, held_out=held_out)
    for category in CATEGORIES:
        for _, scene in scenes(strict, category, 120):
            counts, styles = shown(scene)
            assert not counts & held_out.counts
            assert not styles & held_out.styles
            assert stated(scene) not in held_out.relations
            if len(scene.objects) == 2 and len(counts) == 2:
                a, b = scene.objects
                seen = seen_relation(a.box, b.box, 256)
                assert (a.concept, seen, b.concept) not in held_out.relations
    free = [scene for _, scene in scenes(composer, count=500)]
    assert any(shown(scene)[0] & held_out.counts for scene in free)
    assert any(stated(scene) in held_out.relations for scene in free)


@pytest.mark.parametrize("category", CATEGORIES)
def test_for_evaluation_only_what_is_held_out_is_shown(sprites, lexicon, held_out, category):
    only = SceneComposer(SpriteStore(sprites), lexicon, held_out=held_out, exclude_held_out="only")
    kinds = Counter()
    for _, scene in scenes(only, category, 60):
        counts, styles = shown(scene)
        kinds["count"] += bool(counts & held_out.counts)
        kinds["style"] += bool(styles & held_out.styles)
        kinds["relation"] += stated(scene) in held_out.relations
        held = counts & held_out.counts or styles & held_out.styles
        assert held or stated(scene) in held_out.relations
    assert kinds["relation" if category == "position" else "count"] > 10
    assert kinds["style"]


def test_the_frozen_lists_are_complete_sorted_and_of_known_nouns():
    held_out, real = HeldOut.read(), Lexicon.read()
    assert len(held_out.counts) == NUM_COMBINATIONS
    assert len(held_out.relations) == 2 * NUM_COMBINATIONS
    assert all(noun in real for noun, _, _ in held_out.counts)
    assert all(a in real and b in real for a, _, b in held_out.relations)
    assert all((b, MIRRORED[r], a) in held_out.relations for a, r, b in held_out.relations)


def test_drawing_the_lists_again_gives_the_same_and_keeps_the_styles(tmp_path):
    real, path = Lexicon.read(), tmp_path / "held_out.json"
    path.write_text('{"concept_styles": [["1f415", "flat"]]}', "utf-8")
    write_held_out(real, path)
    lists = json.loads(path.read_text("utf-8"))
    drawn_again = draw_held_out(real)
    assert lists["noun_colour_count"] == drawn_again["noun_colour_count"]
    assert lists["noun_relation_noun"] == sorted(drawn_again["noun_relation_noun"])
    assert HeldOut.read(path).styles == {("1f415", "flat")}


def test_lists_that_are_not_of_the_layout_are_refused(tmp_path, lexicon):
    path = tmp_path / "held_out.json"
    good = {"noun_colour_count": [], "noun_relation_noun": [], "concept_styles": []}
    bad = [
        ({"noun_colour_count": []}, SettingError, "must have the lists"),
        (good | {"concept_styles": [["1f415"]]}, SettingError, "must have 2 parts"),
        (good | {"noun_colour_count": [["1f415", "teal", 1]]}, UnknownNameError, "'teal'"),
        (good | {"noun_colour_count": [["1f415", "red", 9]]}, SettingError, "1 to 6, got 9"),
        (good | {"noun_relation_noun": [["a", "on", "b"]]}, UnknownNameError, "relation named"),
    ]
    for content, error, message in bad:
        path.write_text(json.dumps(content), "utf-8")
        with pytest.raises(error, match=message):
            HeldOut.read(path)
    with pytest.raises(SettingError, match="drawn over 150 nouns, the lexicon has 12"):
        draw_held_out(lexicon)


# --- mistakes ----------------------------------------------------------------------------------


def test_wrong_requests_are_named(composer):
    with pytest.raises(
        UnknownNameError, match="no category named 'count'. Did you mean 'counting'"
    ):
        composer.scene(0, "count")
    with pytest.raises(UnknownNameError, match="no caption language named 'it'"):
        composer.scene(0, None, ("it",))
    for seed in (-1, 2**60, 1.5, True):
        with pytest.raises(SettingError, match="seed must be a whole number"):
            composer.scene(seed)


def test_wrong_settings_are_named(sprites, lexicon):
    store = SpriteStore(sprites)
    for options, error, message in [
        ({"size_px": 8}, SettingError, "size_px must be a whole number 32 to 1024, got 8"),
        ({"weights": {"dual": 1}}, UnknownNameError, "no category named 'dual'"),
        ({"weights": {"two": -1}}, SettingError, "weight of two must be 0 or more, got -1"),
        ({"weights": {"two": 0}}, SettingError, "all 0"),
        ({"exclude_held_out": "all"}, SettingError, "True, False or 'only', got 'all'"),
    ]:
        with pytest.raises(error, match=message):
            SceneComposer(store, lexicon, **options)
    with pytest.raises(SettingError, match="at least one sprite"):
        SpriteStore([])
    with pytest.raises(SettingError, match="cache_mb must be at least 1, got 0"):
        SpriteStore(sprites, cache_mb=0)


def test_sprites_that_make_no_scene_are_refused(sprites, lexicon):
    single = SceneComposer(SpriteStore(sprites[:1]), lexicon, exclude_held_out=False)
    single.scene(0, "counting")
    with pytest.raises(SettingError, match="make no scene of category 'two'; add sprites"):
        single.scene(0, "two")
    foreign = Sprite.from_webp("1f600", "flat", drawn(0, "flat"))
    with pytest.raises(SettingError, match="none of the 1 sprites can be used"):
        SceneComposer(SpriteStore([foreign]), lexicon, exclude_held_out=False)


def test_a_picture_that_cannot_be_decoded_is_named():
    with pytest.raises(SettingError, match="1f415 in flat cannot be decoded"):
        Sprite.from_webp("1f415", "flat", b"RIFF")
