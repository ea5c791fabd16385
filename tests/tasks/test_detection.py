"""Task detection: which location answers, losses on paper, boxes out of outputs, AP by hand."""

import math
import sys

import numpy as np
import pytest
import torch

from winnow.core.errors import Refused
from winnow.data.inputs.boxed import BoxedImages, Moves, moved
from winnow.data.loaders import Batches, Split
from winnow.data.source import Part, Source
from winnow.nn.detection import CENTRE, SCORES, centres
from winnow.tasks.box_loss import BoxLoss, centreness, focal, taken
from winnow.tasks.detection import checked, floor, told
from winnow.tasks.drawn_boxes import drawn
from winnow.tasks.found_boxes import average_precision, boxes_of

pytest.importorskip("faster_coco_eval", reason="needs the extra winnow[detection]")

FACTS = {"classes": ["a", "b"], "floor": [[0.0, 0.0, 4.0, 4.0, 0.5, 0.0]], "most": 2}


def levels(*strides: int, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    points = [centres(side // stride, side // stride, stride) for stride in strides]
    each = torch.cat([torch.full((len(p),), float(s)) for p, s in zip(points, strides, strict=True)])
    return torch.cat(points)[None], each[None]


def outputs(boxes: list[list[float]], logits: list[list[float]], central: float = 9.0) -> torch.Tensor:
    """Of locations 4 pixels apart in an image of 16, one of them for each box."""
    points = centres(4, 4, 4)[: len(boxes)]
    rows = [torch.tensor(boxes), points, torch.full((len(boxes), 1), 4.0), torch.full((len(boxes), 1), central)]
    return torch.cat([*rows, torch.tensor(logits)], 1)[None]


def test_centres_are_row_after_row_in_the_middle():
    assert centres(2, 3, 4).tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]


def test_a_box_is_taken_near_its_centre_on_the_level_of_its_size():
    points, strides = levels(4, 8)
    boxes = torch.tensor([[[2.0, 2.0, 14.0, 14.0, 1.0], [-1.0] * 5]])
    which = taken(points, strides, boxes)[0]
    right = points[0][which >= 0]
    assert (strides[0][which >= 0] == 4).all()  # its farthest side is at most 12 away: within 4 strides of 4
    assert ((right - 8).abs() < 6).all()
    assert len(right) == 4  # 6 and 10, either way: 2 lies on its border, 14 too
    large = torch.tensor([[[0.0, 0.0, 32.0, 32.0, 0.0]]])
    which = taken(points, strides, large)[0]
    assert set(strides[0][which >= 0].tolist()) == {8.0}  # beyond 16 pixels the coarser level, without end


def test_of_two_boxes_the_smaller_one_is_taken():
    points, strides = levels(4)
    boxes = torch.tensor([[[0.0, 0.0, 32.0, 32.0, 0.0], [12.0, 12.0, 20.0, 20.0, 1.0]]])
    which = taken(points, strides, boxes)[0].view(8, 8)
    assert which[3:5, 3:5].eq(1).all()


def test_losses_on_paper():
    logits, truth = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0])
    torch.testing.assert_close(focal(logits, truth), math.log(2) * 0.25 * torch.tensor([0.25, 0.75]))
    points, boxes = torch.tensor([[2.0, 2.0], [1.0, 2.0]]), torch.tensor([[0.0, 0.0, 4.0, 4.0]] * 2)
    torch.testing.assert_close(centreness(points, boxes), torch.tensor([1.0, math.sqrt(1 / 3)]))


def test_the_loss_is_least_where_all_is_right_and_an_image_without_boxes_counts():
    right = outputs([[0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0]], [[9.0, -9.0], [-9.0, -9.0]])
    boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0, 0.0]]])
    assert BoxLoss()(right, boxes) < 1e-3
    assert BoxLoss()(right, torch.tensor([[[0.0, 0.0, 4.0, 4.0, 1.0]]])) > 5  # another category
    assert BoxLoss()(right, torch.full((1, 1, 5), -1.0)) > 5  # nothing is there
    shifted = right.clone()
    shifted[0, 0, :4] += 2
    assert BoxLoss()(shifted, boxes) > 0.5


def test_boxes_come_best_first_cut_at_the_image_and_padded():
    told = outputs(
        [[-3.0, 0.0, 5.0, 4.0], [-3.0, 0.0, 5.0, 4.5], [8.0, 0.0, 40.0, 9.0]], [[2.0, -9], [1.0, -9], [-9, 3.0]]
    )
    found = boxes_of(told)
    assert found.shape == (1, 100, 6)
    scores = [math.sqrt(1 / (1 + math.exp(-each)) / (1 + math.exp(-9))) for each in (3, 2)]
    kept = found[0, found[0, :, 4] > 0.5]
    assert kept[:, 5].tolist() == [1.0, 0.0]  # the second of two that are alike is gone
    assert kept[:, 4].tolist() == pytest.approx(scores)
    assert kept[0, :4].tolist() == [8, 0, 12, 4]  # the image of three places ends there
    assert kept[1, :4].tolist() == [0, 0, 5, 4]
    assert (found[0, -1] == -1).all()


def rows_of(boxes: list[list[float]], width: int) -> torch.Tensor:
    """One image."""
    return torch.tensor(boxes).view(1, -1, width)


@pytest.mark.parametrize(
    ("found", "boxes", "ap", "ap50"),
    [
        ([[0, 0, 10, 10, 0.9, 0]], [[0, 0, 10, 10, 0]], 100, 100),
        ([[0, 0, 10, 10, 0.9, 1]], [[0, 0, 10, 10, 0]], 0, 0),  # of another category
        ([[0, 0, 10, 7.2, 0.9, 0]], [[0, 0, 10, 10, 0]], 50, 100),  # IoU 0.72 passes 0.5, 0.55, ..., 0.7: five of ten
        # half of the boxes, found first: precision 1 up to recall 0.5, at 51 of 101 places
        ([[0, 0, 10, 10, 0.9, 0]], [[0, 0, 10, 10, 0], [20, 20, 30, 30, 0]], 100 * 51 / 101, 100 * 51 / 101),
        # a false one first: precision is one half everywhere
        ([[20, 20, 30, 30, 0.9, 0], [0, 0, 10, 10, 0.8, 0]], [[0, 0, 10, 10, 0]], 50, 50),
        # found twice: the second one is false, after all recall is reached
        ([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.8, 0]], [[0, 0, 10, 10, 0]], 100, 100),
        # two categories: one found whole, one not at all; a third is nowhere and does not count
        ([[0, 0, 10, 10, 0.9, 0]], [[0, 0, 10, 10, 0], [20, 20, 30, 30, 1]], 50, 50),
    ],
)
def test_average_precision_by_hand(found, boxes, ap, ap50):
    told = average_precision(rows_of(found, 6).float(), rows_of(boxes, 5).float(), 3)
    assert (told["ap"], told["ap50"]) == pytest.approx((ap, ap50))


def test_a_category_that_is_nowhere_has_no_number_and_nothing_found_is_zero():
    nothing = torch.full((1, 100, 6), -1.0)
    told = average_precision(nothing, rows_of([[0.0, 0.0, 10.0, 10.0, 1.0]], 5), 2)
    assert told == {"ap": 0.0, "ap50": 0.0, "per_class": [None, 0.0], "per_class_50": [None, 0.0]}


def test_the_trivial_detector_knows_where_boxes_are_used_to_be():
    boxes = torch.full((10, 2, 5), -1.0)
    boxes[:, 0] = torch.tensor([0.0, 0.0, 8.0, 8.0, 0.0])
    boxes[:5, 1] = torch.tensor([16.0, 16.0, 24.0, 24.0, 1.0])
    rows = floor(boxes, 2, (32, 32))
    assert rows[0] == [0.0, 0.0, 8.0, 8.0, 1.0, 0.0]
    assert max(row[4] for row in rows if row[5] == 1) == 0.5
    facts = {**FACTS, "floor": rows}
    nothing = torch.zeros(10, 4, 10)
    nothing[..., 6] = 1.0
    assert told([nothing], boxes, facts)["floor"]["ap50"] > 30


def test_flips_and_zooms_move_boxes_with_their_image():
    rng = np.random.default_rng(0)
    images = torch.zeros(64, 1, 24, 32, dtype=torch.uint8)
    boxes = torch.full((64, 2, 5), -1.0)
    for row in range(64):
        x, y = int(rng.integers(4, 20)), int(rng.integers(4, 12))
        images[row, :, y : y + 8, x : x + 8] = 255
        boxes[row, 0] = torch.tensor([x, y, x + 8, y + 8, 1.0])
    inputs = BoxedImages({"shape": [1, 24, 32], "mean": [0.0], "std": [1.0]}, Moves(flip=True, turn=True, zoom=1.5))
    draws = inputs.draw(64, torch.Generator().manual_seed(0))
    x, told_boxes = inputs.make({"image": images}, draws), inputs.turned(boxes, draws)
    assert (told_boxes[:, 1] == -1).all()
    seen = 0
    for image, box in zip(x, told_boxes[:, 0], strict=True):
        if box[4] < 0:
            continue
        seen += 1
        rows, columns = (image[0] > 0.5).nonzero().unbind(1)
        around = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (around - box[:4]).abs().max() <= 1.0
    assert seen > 40


def test_a_flip_alone_is_exact_and_no_augmentation_is_none():
    inputs = BoxedImages({"shape": [1, 4, 6], "mean": [0.0], "std": [1.0]}, Moves(flip=True))
    boxes = torch.tensor([[[1.0, 1.0, 3.0, 2.0, 0.0]]])
    assert inputs.turned(boxes, {"flips": torch.tensor([True])}).tolist() == [[[3.0, 1.0, 5.0, 2.0, 0.0]]]
    assert inputs.turned(boxes, {"turns": torch.tensor([True])}).tolist() == [[[1.0, 2.0, 3.0, 3.0, 0.0]]]
    assert inputs.turned(boxes, {}) is boxes
    assert moved({"symmetric": False}) == Moves(False, False, 1.25)
    with pytest.raises(Refused, match=r"zoom takes 1 \(none\) to 4, not 9"):
        moved({"symmetric": True}, zoom=9)


def test_batches_hand_out_boxes_as_their_images_lie():
    facts = {"shape": [1, 4, 6], "mean": [0.0], "std": [1.0]}
    boxes = torch.arange(8.0).view(8, 1, 1) * torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0])
    boxes = boxes + torch.tensor([1.0, 1.0, 3.0, 2.0, 0.0])
    images = torch.zeros(8, 1, 4, 6, dtype=torch.uint8)
    images[..., 1, 1:3] = 255
    split = Split("weights", {"image": images, "boxes": boxes}, "boxes", BoxedImages(facts), facts, "")
    moving = Batches(split, 8, generator=torch.Generator().manual_seed(1), augment=BoxedImages(facts, Moves(flip=True)))
    x, y = next(iter(moving))
    assert sorted(y[:, 0, 4].tolist()) == list(range(8))  # each with its own
    places = x[:, 0, 1].argmax(1)
    assert y[:, 0, 0].tolist() == places.tolist()
    assert set(places.tolist()) == {1, 3}


def test_what_is_drawn_is_found_wrong_or_missed():
    told = outputs([[0.0, 0.0, 4.0, 4.0], [8.0, 0.0, 12.0, 4.0]], [[5.0, -9], [-9, 5.0]])
    boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0, 0.0], [4.0, 0.0, 8.0, 4.0, 1.0]]])
    rows = drawn([told], boxes, FACTS, torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert [(row["kind"], row["category"]) for row in rows] == [
        ("image", ""),
        ("found", "a"),
        ("wrong", "b"),
        ("missed", "b"),
    ]


def source(boxes: np.ndarray, classes=("a", "b"), **test) -> Source:
    images = np.zeros((len(boxes), 3, 8, 8), np.uint8)
    part = Part({"image": images, "boxes": boxes})
    other = Part({"image": images, "boxes": test["test"]}) if test else None
    return Source(part, other, {"classes": list(classes)})


GOOD = np.array([[[0, 0, 4, 4, 1], [-1] * 5]], np.float32)


def test_a_source_that_is_right_is_padded_alike_and_a_new_category_is_noted():
    found = checked(source(GOOD, test=np.array([[[0, 0, 2, 2, 0.0]]])))
    assert found.facts["most"] == 2
    assert found.test.columns["boxes"].tolist() == [[[0, 0, 2, 2, 0], [-1] * 5]]
    assert found.notes[-1] == "test has boxes of a, of which training has none"
    assert checked(source(GOOD, "abcd")).notes[-1] == "no image has a box of 3 of the 4 categories: a, c, d"


@pytest.mark.parametrize(
    ("boxes", "classes", "said"),
    [
        (
            [[[0, 0, 9, 4, 1]]],
            "ab",
            r"1 are outside of their image of 8 x 8, of no area, or of no category 0 to 1; the f",
        ),
        ([[[2, 2, 2, 4, 1]]], "ab", r"of no area"),
        ([[[0, 0, 4, 4, 2]]], "ab", r"the first is \[0.0, 0.0, 4.0, 4.0, 2.0\] of image 0"),
        ([[[0, 0, 4, 4, 0.5]]], "ab", r"of no category"),
        ([[[0, 0, 4, 4]]], "ab", r"boxes are float64 of shape \(1, 1, 4\)"),
        ([[[-1] * 5]], "ab", r"no box at all"),
        ([[[0, 0, 4, 4, 0]]], "aa", r"category 'a' is there twice"),
        ([[[0, 0, 4, 4, 0]]], "", r"do not name its categories"),
    ],
)
def test_boxes_that_cannot_be_are_refused(boxes, classes, said):
    with pytest.raises(Refused, match=said):
        checked(source(np.array(boxes, np.float64), classes))


def test_without_the_extra_preparing_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(Refused) as caught:
        checked(source(GOOD))
    assert str(caught.value) == ("this takes faster_coco_eval, which is not installed: pip install 'winnow[detection]'")


def test_places_of_an_output_are_said_once():
    assert (CENTRE, SCORES) == (7, 8)
