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
