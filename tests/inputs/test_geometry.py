from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from robustmq_trt.core.errors import InputError
from robustmq_trt.inputs.geometry import Layout, Window, lay_out


def torchvision_layout(height: int, width: int, size: int, short_side: int) -> Layout:
    """Resize(short_side) and CenterCrop(size), written from torchvision's documentation."""
    if height <= width:
        rows, columns = short_side, int(short_side * width / height)
    else:
        rows, columns = int(short_side * height / width), short_side
    return Layout(height=rows, width=columns, top=round((rows - size) / 2.0), left=round((columns - size) / 2.0))


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), size=st.sampled_from([32, 96, 128, 192, 224, 299]))
def test_square_models_follow_torchvision(height: int, width: int, size: int) -> None:
    assume(max(height, width) < 100 * min(height, width))

    layout = lay_out((height, width), (size, size), geometry="short-side-crop", crop_fraction=0.875)

    assert layout == torchvision_layout(height, width, size, int(size / 0.875))


@pytest.mark.parametrize(
    ("stored", "resized", "corner"),
    [
        ((375, 500), (256, 341), (16, 58)),  # 341.33 is cut, (341 - 224) / 2 = 58.5 goes to the even 58
        ((500, 333), (384, 256), (80, 16)),
        ((401, 300), (342, 256), (59, 16)),
        ((257, 256), (257, 256), (16, 16)),  # 16.5 goes to the even 16
    ],
)
def test_sizes_are_cut_and_offsets_round_half_to_even(
    stored: tuple[int, int], resized: tuple[int, int], corner: tuple[int, int]
) -> None:
    layout = lay_out(stored, (224, 224), geometry="short-side-crop", crop_fraction=0.875)

    assert (layout.height, layout.width) == resized
    assert (layout.top, layout.left) == corner


@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    rows=st.integers(1, 300),
    columns=st.integers(1, 300),
    fraction=st.floats(0.3, 1),
)
def test_the_window_always_lies_inside_and_the_cover_is_tight(
    height: int, width: int, rows: int, columns: int, fraction: float
) -> None:
    for geometry in ("short-side-crop", "squash"):
        try:
            layout = lay_out((height, width), (rows, columns), geometry=geometry, crop_fraction=fraction)
        except InputError:
            continue

        assert layout.window((rows, columns)) == Window(top=layout.top, left=layout.left, height=rows, width=columns)
        assert 0 <= layout.top <= layout.height - rows
        assert 0 <= layout.left <= layout.width - columns
        assert layout.height == int(rows / fraction) or layout.width == int(columns / fraction)


@pytest.mark.parametrize(
    ("rounding", "stored", "resized"),
    [("int", (300, 401), (256, 342)), ("round", (300, 401), (256, 342)), ("ceil", (300, 401), (256, 343))]
    + [("int", (375, 500), (256, 341)), ("round", (332, 500), (256, 386)), ("ceil", (375, 500), (256, 342))]
    + [(rounding, (300, 600), (256, 512)) for rounding in ("int", "round", "ceil")],
)
def test_the_free_side_is_rounded_as_asked(rounding: str, stored: tuple[int, int], resized: tuple[int, int]) -> None:
    layout = lay_out(stored, (224, 224), geometry="short-side-crop", crop_fraction=0.875, size_rounding=rounding)

    assert (layout.height, layout.width) == resized


@pytest.mark.parametrize(("rounding", "left"), [("half-even", 58), ("floor", 58), ("ceil", 59)])
def test_half_a_pixel_of_offset_goes_where_asked(rounding: str, left: int) -> None:
    layout = lay_out((375, 500), (224, 224), geometry="short-side-crop", crop_fraction=0.875, crop_rounding=rounding)

    assert (layout.top, layout.left) == (16, left)  # (341 - 224) / 2 = 58.5


def ultralytics_layout(height: int, width: int, side: int) -> Layout:
    """Ultralytics' LetterBox(side, auto=False), written from its source: the border above and left is rounded down."""
    ratio = min(side / height, side / width)
    rows, columns = round(height * ratio), round(width * ratio)
    return Layout(
        height=rows, width=columns, top=-round((side - rows) / 2 - 0.1), left=-round((side - columns) / 2 - 0.1)
    )


@given(height=st.integers(1, 900), width=st.integers(1, 900), side=st.sampled_from([32, 224, 320, 640]))
def test_a_rounded_letterbox_is_yolo_s(height: int, width: int, side: int) -> None:
    assume(max(height, width) < 2 * side * min(height, width))  # else a side vanishes there

    layout = lay_out(
        (height, width),
        (side, side),
        geometry="letterbox-grey",
        crop_fraction=1.0,
        size_rounding="round",
        crop_rounding="ceil",
    )

    theirs = ultralytics_layout(height, width, side)
    assert abs(layout.height - theirs.height) + abs(layout.width - theirs.width) <= 1  # a ratio rounded on the way
    if (layout.height, layout.width) == (theirs.height, theirs.width):
        assert layout == theirs


def test_a_letterbox_never_loses_a_side() -> None:
    layout = lay_out((5000, 1), (224, 224), geometry="letterbox-black", crop_fraction=1.0)

    assert layout == Layout(height=224, width=1, top=0, left=-112)
    assert layout.window((224, 224)) == Window(top=0, left=0, height=224, width=1)


def test_squash_ignores_the_aspect_ratio() -> None:
    layout = lay_out((10, 500), (32, 48), geometry="squash", crop_fraction=1.0)

    assert layout == Layout(height=32, width=48, top=0, left=0)


def test_a_needle_of_an_image_is_refused_instead_of_filling_the_memory() -> None:
    with pytest.raises(InputError, match=r"1 x 5000 pixels would be resized to 256 x 1280000"):
        lay_out((5000, 1), (224, 224), geometry="short-side-crop", crop_fraction=0.875)
