from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mtgen.data.images.backgrounds import SHADES
from mtgen.data.images.colours import (
    COLOUR_NAMES,
    NAMED_SHARE,
    anchor_colour,
    colour_name,
    dominant_colour,
    from_oklab,
    recolour,
    recolouring,
    recolours,
    to_oklab,
)
from mtgen.errors import SettingError, UnknownNameError


def disc(fill: str, *, outline: str | None = None, width: int = 0, leaf: str | None = None):
    """A shaded disc of 256 px, with an outline and a leaf where asked for."""
    picture = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((28, 28, 228, 228), fill=fill, outline=outline, width=width)
    if leaf:
        pen.ellipse((150, 10, 230, 60), fill=leaf)
    return np.array(picture)


@pytest.mark.parametrize(
    ("hexadecimal", "name"),
    [
        ("ff0000", "red"),
        ("dd2e44", "red"),
        ("ff8c00", "orange"),
        ("ffcc4d", "yellow"),
        ("ffff00", "yellow"),
        ("008000", "green"),
        ("77b255", "green"),
        ("0000ff", "blue"),
        ("5dadec", "blue"),
        ("800080", "purple"),
        ("aa8dd8", "purple"),
        ("ffc0cb", "pink"),
        ("ff69b4", "pink"),
        ("8b4513", "brown"),
        ("c1694f", "brown"),
        ("31373d", "black"),
        ("000000", "black"),
        ("ffffff", "white"),
        ("808080", "gray"),
        ("99aab5", "gray"),
    ],
)
def test_css_and_emoji_colours_have_their_everyday_names(hexadecimal, name):
    assert colour_name(*bytes.fromhex(hexadecimal)) == name


@pytest.mark.parametrize("hexadecimal", ["008080", "d2b48c", "ffe0bd", "ff6b6b"])
def test_teal_tan_skin_and_coral_have_no_name(hexadecimal):
    assert colour_name(*bytes.fromhex(hexadecimal)) is None


def test_oklab_agrees_with_ottossons_table_and_comes_back():
    white, red = to_oklab(np.array([[255, 255, 255], [255, 0, 0]], np.uint8))
    assert np.allclose(white, [1, 0, 0], atol=1e-3)
    assert np.allclose(red, [0.628, 0.225, 0.126], atol=1e-3)
    colours = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    back = from_oklab(to_oklab(colours)).astype(int)
    assert np.abs(back - colours).max() <= 1


def test_a_thin_dark_outline_is_not_the_colour_of_a_thing():
    name, share = dominant_colour(disc("#ffd700", outline="#000000", width=7))
    assert (name, share > 0.95) == ("yellow", True)


def test_a_thing_of_nothing_but_dark_lines_is_black():
    assert dominant_colour(disc("#00000000", outline="#000000", width=6)) == ("black", 1.0)


def test_a_thick_dark_body_is_black():
    assert dominant_colour(disc("#202020"))[0] == "black"


def test_the_share_is_of_the_visible_area():
    half = np.zeros((100, 100, 4), np.uint8)
    half[:, :60] = (220, 30, 40, 255)
    half[:, 60:80] = (40, 90, 220, 255)
    name, share = dominant_colour(half)
    assert name == "red"
    assert share == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("fill", ["#d32f2f", "#1e88e5", "#ffffff", "#9e9e9e", "#6d4c41", "#ffd54f"])
def test_every_offered_colour_is_really_had_after_recolouring(fill):
    rgba = disc(fill, outline="#222222", width=6, leaf="#388e3c")
    offered = recolours(rgba)
    assert len(offered) >= 7
    assert dominant_colour(rgba)[0] not in offered
    for name in offered:
        seen, share = dominant_colour(recolour(rgba, name))
        assert seen == name
        assert share >= NAMED_SHARE


def test_recolouring_leaves_alpha_and_other_hues_alone():
    rgba = disc("#d32f2f", leaf="#388e3c")
    blue = recolour(rgba, "blue")
    assert (blue[..., 3] == rgba[..., 3]).all()
    assert colour_name(*blue[30, 200, :3]) == "green"
    assert np.abs(blue[30, 200, :3].astype(int) - rgba[30, 200, :3]).max() <= 4
    assert colour_name(*blue[128, 128, :3]) == "blue"


def test_recolouring_keeps_the_shading():
    rgba = disc("#000000")
    ramp = np.linspace(150, 255, 256).astype(np.uint8)
    rgba[..., 0], rgba[..., 1], rgba[..., 2] = ramp[:, None], 30, 40
    lightness = to_oklab(recolour(rgba, "green")[40:216, 128, :3])[:, 0]
    assert (np.diff(lightness) > -0.005).all()
    assert lightness[-1] - lightness[0] > 0.1


def test_colours_that_would_hide_the_drawing_are_not_offered():
    clock = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    pen = ImageDraw.Draw(clock)
    pen.ellipse((20, 20, 236, 236), fill="white")
    pen.line((128, 128, 128, 60), fill="#222222", width=10)
    pen.line((128, 128, 180, 128), fill="#222222", width=10)
    offered = recolours(np.array(clock))
    assert "black" not in offered
    assert "red" in offered


def test_every_background_shade_has_the_name_it_is_listed_under():
    assert {name for name, _ in SHADES} == set(COLOUR_NAMES)
    assert all(colour_name(*rgb) == name for name, rgb in SHADES)


def test_mistakes_are_named():
    rgba = disc("red")
    with pytest.raises(UnknownNameError, match="no colour named 'grey'. Did you mean 'gray'"):
        recolour(rgba, "grey")
    with pytest.raises(UnknownNameError, match="no colour named 'teal'"):
        recolouring(anchor_colour(rgba), "teal")
    with pytest.raises(SettingError, match="no visible pixel"):
        dominant_colour(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(SettingError, match=r"shape \(H, W, 4\), got uint8 of shape \(8, 8, 3\)"):
        recolours(np.zeros((8, 8, 3), np.uint8))
