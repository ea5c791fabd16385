"""Drawings say what was found, whatever the kind of space, and equal drawings are equal bytes."""

import random

import pytest
import torch

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.look import page
from winnow.look.stacks import Stack, stacks_of
from winnow.look.style import to_bytes
from winnow.run.draw import draw_architecture, draw_space, save
from winnow.spaces import build
from winnow.spaces.nas_bench_201 import from_string

SPACES = ("nas_bench_201", "darts", "mobile", "ensemble")


def space_of(name):
    with torch.device("meta"):
        return build(name, {})


def svg(figure) -> str:
    return to_bytes(figure, "svg").decode()


@pytest.mark.parametrize("name", SPACES)
def test_a_drawing_shows_every_operation_of_the_architecture_and_repeats_to_the_byte(name):
    space = space_of(name)
    arch = space.decide(uniform(random.Random(3)))
    drawn = svg(draw_architecture(space, arch))
    for value in arch.values():
        if isinstance(value, str):
            assert value in drawn
    assert drawn == svg(draw_architecture(space, arch))
    other = space.decide(uniform(random.Random(4)))
    assert drawn != svg(draw_architecture(space, other))


@pytest.mark.parametrize("name", SPACES)
def test_an_open_space_shows_its_candidates(name):
    space = space_of(name)
    drawn = svg(draw_space(space))
    for option in next(iter(space.decisions.values())).options:
        assert str(option) in drawn


def test_each_edge_of_a_cell_is_labelled_once():
    arch = from_string("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|nor_conv_1x1~1|avg_pool_3x3~2|")
    space = space_of("nas_bench_201")
    drawn = svg(draw_architecture(space, arch))
    in_legend = 1
    assert drawn.count(">none<") == 2 + in_legend
    assert drawn.count(">nor_conv_1x1<") == 1 + in_legend


def test_a_cell_of_nas_bench_101_has_a_box_a_node_and_says_what_is_left_out():
    space, drawn = space_of("nas_bench_101"), []
    for last, ops in (("0", 2), ("3", 3)):
        answers = {"cell/nodes": 5, "cell/1/op": "conv1x1", "cell/2/op": "maxpool3x3", "cell/3/op": "conv3x3"}
        answers |= {"cell/2/input": 1, "cell/3/input": 0, "cell/4/input": int(last), "cell/5/edges": ("2>4",)}
        drawn.append(svg(draw_architecture(space, Architecture.of(answers))))
        shown = [drawn[-1].count(f">{name}<") for name in ("input", "conv1x1", "maxpool3x3", "conv3x3", "output")]
        assert shown == [1, 1, 1, ops - 2, 1]
    assert "1 node that leads nowhere left out" in drawn[0]
    assert "left out" not in drawn[1]


def test_an_architecture_of_another_space_is_not_drawn():
    with pytest.raises(ValueError, match="another space"):
        draw_architecture(space_of("nas_bench_201"), {"4<-0": "none"})


def test_files_are_svg_or_png(tmp_path):
    figure = draw_space(space_of("nas_bench_201"))
    save(figure, tmp_path / "a.svg")
    save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.svg").read_text().lstrip().startswith("<?xml")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(Refused, match=r"\.svg or \.png, not 'a.gif'"):
        save(figure, tmp_path / "a.gif")


def test_cells_of_several_branches_are_stacked_and_empty_ones_are_lines():
    with torch.device("meta"):
        space = build("multibranch", {"operations": ["lb3_t1", "rec5_t1", "lb7_t3"], "cells": [1, 1, 0, 0, 0, 0, 0]})
    arch = space.decide(lambda d: ("lb3_t1", "rec5_t1") if d.name == "stage2/cell2" else d.values[0])
    stages = stacks_of(space.decisions, arch)
    assert list(stages) == [f"stage{i}" for i in range(1, 8)]
    assert stages["stage1"] == [Stack("stage1/cell1", (), True)]
    assert stages["stage2"] == [
        Stack("stage2/cell1", ("lb3_t1",), False),
        Stack("stage2/cell2", ("lb3_t1", "rec5_t1"), True),
    ]
    drawn = svg(draw_architecture(space, arch))
    assert "multi-branch cells" in drawn
    assert "rec5_t1" in drawn
    assert "lb7_t3" not in drawn
    assert stacks_of(space_of("darts").decisions, {}) == {}


def test_an_ensemble_branches_where_it_splits():
    space = space_of("ensemble")
    arch = space.decide(lambda d: 16 if d.name == "split" else "k7_e6" if d.name.endswith("member2") else "k3_e4")
    drawn = svg(draw_architecture(space, arch))
    assert drawn.count(">k3_e4<") == 16 + 4
    assert drawn.count(">k7_e6<") == 4
    assert (drawn.count(">shared<"), drawn.count(">member1<"), drawn.count(">member2<")) == (1, 1, 1)
    whole = space.decide(lambda d: 20 if d.name == "split" else "skip" if "skip" in d.options else "k3_e4")
    drawn = svg(draw_architecture(space, whole))
    assert "members share all layers" in drawn
    assert drawn.count(">skip<") == 15


def test_where_an_ensemble_parts_lines_are_seen_and_run_from_box_to_box():
    """The only slanted lines: one to each member, from the last shared box to its first, and no box lies over them."""
    space = space_of("ensemble")
    arch = space.decide(lambda d: d.values[len(d.values) // 2])
    figure = draw_architecture(space, arch)
    (axes,) = figure.axes
    slanted = [line.get_xydata() for line in axes.lines if len(set(line.get_ydata())) == 2]
    assert len(slanted) == 2
    boxes = [patch.get_path().get_extents(patch.get_patch_transform()) for patch in axes.patches]
    for (x0, y0), (x1, y1) in slanted:
        assert x1 - x0 >= 20
        places = [(x0 + at * (x1 - x0), y0 + at * (y1 - y0)) for at in (0.2, 0.5, 0.8)]
        assert not any(box.contains(*place) for box in boxes for place in places)


def test_a_drawing_in_a_page_says_what_it_shows_and_keeps_its_labels_legible():
    drawing = '<svg xmlns="a" width="1200pt" height="80pt"><text>mb3</text></svg>'
    told = page.inline(f"<?xml?>{drawing}", "layer1 'mb3'")
    assert told.startswith("<div class='figure' role='group' tabindex='0' aria-label='layer1 &#x27;mb3&#x27;'>")
    assert "min-width: 1200px" in told  # three quarters of 1600 pixels
    assert page.inline(drawing) == f"<div class='figure'>{drawing}</div>"
