"""Boxes beside each other: numbers on paper, and suppression as one box after another does it."""

import pytest
import torch

from winnow.nn.boxes import area, giou, iou, kept


def test_overlaps_on_paper():
    a = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 2.0, 2.0]])
    b = torch.tensor([[2.0, 2.0, 6.0, 6.0], [0.0, 0.0, 4.0, 4.0], [5.0, 5.0, 6.0, 6.0]])
    expected = torch.tensor([[4 / 28, 1.0, 0.0], [0.0, 4 / 16, 0.0]])
    torch.testing.assert_close(iou(a, b), expected)
    assert area(torch.tensor([3.0, 1.0, 2.0, 5.0])) == 0  # turned inside out


def test_generalised_overlap_counts_the_gap():
    one, apart = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([3.0, 0.0, 5.0, 2.0])
    assert giou(one, one) == pytest.approx(1.0)
    assert giou(one, apart) == pytest.approx(-2 / 10)  # no overlap; a hull of 10, of which 2 are in neither
    half = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert giou(one, half) == pytest.approx(2 / 6)  # the hull is the union


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ([1.0, 2.0, 4.0, 9.0], 21.0),
        ([4.0, 2.0, 1.0, 9.0], 0.0),
        ([4.0, 9.0, 1.0, 2.0], 0.0),
        ([1.0, 1.0, 1.0, 2.0], 0.0),
    ],
)
def test_a_box_without_an_inside_has_no_area(box, inside):
    assert area(torch.tensor([box, [0.0, 0.0, 0.5, 0.5]])).tolist() == [inside, 0.25]


def test_generalised_overlaps_of_many_pairs_are_those_of_each():
    """Hulls that are wider than high and the other way round, one box left or right of, above or below the other."""
    a = torch.tensor([[0.0, 0.0, 2.0, 1.0], [5.0, 1.0, 6.0, 3.0], [0.0, 0.0, 3.0, 4.0]])
    b = torch.tensor([[4.0, 0.0, 5.0, 3.0], [0.0, 2.0, 2.0, 3.0], [1.0, 1.0, 2.0, 3.0]])
    by_hand = torch.tensor([-(15 - 5) / 15, -(12 - 4) / 12, 2 / 12])
    torch.testing.assert_close(giou(a, b), by_hand)
    torch.testing.assert_close(giou(b, a), by_hand)


def test_overlaps_of_tiny_boxes_are_exact_and_those_of_nothing_are_zero():
    tiny = torch.tensor([[0.0, 0.0, 0.01, 0.01], [0.005, 0.0, 0.015, 0.01]])
    torch.testing.assert_close(iou(tiny, tiny), torch.tensor([[1.0, 1 / 3], [1 / 3, 1.0]]))
    torch.testing.assert_close(giou(tiny[0], tiny), torch.tensor([1.0, 1 / 3]))
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert iou(point, point).tolist() == [[0]]
    assert giou(point, point).tolist() == [0]


def test_overlaps_are_of_every_box_with_every_other_in_each_image():
    a = torch.tensor([[[0.0, 0.0, 2.0, 2.0]], [[0.0, 0.0, 4.0, 1.0]]])
    b = torch.tensor([[[1.0, 0.0, 3.0, 2.0], [9.0, 9.0, 10.0, 10.0]], [[0.0, 0.0, 4.0, 1.0], [3.0, -1.0, 5.0, 1.0]]])
    torch.testing.assert_close(iou(a, b), torch.tensor([[[2 / 6, 0.0]], [[1.0, 1 / 7]]]))


def test_generalised_overlap_pulls_boxes_that_do_not_meet():
    told = torch.tensor([10.0, 10.0, 12.0, 12.0], requires_grad=True)
    (1 - giou(told, torch.tensor([0.0, 0.0, 2.0, 2.0]))).backward()
    assert (told.grad[:2] > 0).all()  # the near corner is pulled towards it


def one_by_one(boxes, scores, kinds, threshold):
    """What `kept` is to give: the plain way."""
    stays: list[int] = []
    for place in scores.argsort(descending=True, stable=True).tolist():
        rivals = [i for i in stays if kinds[i] == kinds[place]]
        if all(float(iou(boxes[None, i], boxes[None, place])) <= threshold for i in rivals):
            stays.append(place)
    return [place in stays for place in range(len(boxes))]


@pytest.mark.parametrize("seed", range(6))
def test_suppression_is_that_of_one_box_after_another(seed):
    draws = torch.Generator().manual_seed(seed)
    corners = 30 * torch.rand(4, 60, 2, generator=draws)
    boxes = torch.cat([corners, corners + 5 + 15 * torch.rand(4, 60, 2, generator=draws)], 2)
    scores = (10 * torch.rand(4, 60, generator=draws)).round() / 10  # with ties
    kinds = torch.randint(2, (4, 60), generator=draws)
    found = kept(boxes, scores, kinds, 0.4)
    assert found.tolist() == [one_by_one(*each, 0.4) for each in zip(boxes, scores, kinds, strict=True)]
    assert 0 < int(found.sum()) < found.numel()


def test_a_chain_of_boxes_settles_from_the_best_on():
    """Each overlaps the next: the second goes, so the third stays, and so on."""
    boxes = torch.tensor([[[4.0 * i, 0.0, 4.0 * i + 10, 10.0] for i in range(7)]])
    scores = torch.linspace(1, 0.4, 7)[None]
    found = kept(boxes, scores, torch.zeros(1, 7, dtype=torch.long), 0.4)
    assert found[0].tolist() == [True, False] * 3 + [True]


def test_a_box_goes_beyond_the_threshold_and_stays_at_it():
    """Two boxes of 2 x 1 share one of three units: a third; kinds that differ do not meet."""
    boxes = torch.tensor([[[1.0, 0.0, 3.0, 1.0], [0.0, 0.0, 2.0, 1.0]]])
    scores, one, two = torch.tensor([[0.1, 0.9]]), torch.zeros(1, 2, dtype=torch.long), torch.tensor([[0, 1]])
    third = float(iou(boxes[0, :1], boxes[0, 1:]))
    assert kept(boxes, scores, one, third).tolist() == [[True, True]]
    assert kept(boxes, scores, one, 0.33).tolist() == [[False, True]]
    assert kept(boxes, scores, two, 0.33).tolist() == [[True, True]]
    assert kept(boxes, torch.tensor([[0.5, 0.5]]), one, 0.33).tolist() == [[True, False]], "of equal ones the earlier"
