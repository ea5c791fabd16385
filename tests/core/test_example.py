"""core.example: batches of a shape, or of the one input that a network was built for."""

import pytest
import torch

from winnow.core.example import noise, row_of, zeros


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_zeros_of_a_shape_are_a_batch_of_one_unless_more_are_asked():
    assert torch.equal(zeros((3, 4, 5)), torch.zeros(1, 3, 4, 5))
    assert torch.equal(zeros((3,), 7), torch.zeros(7, 3))
    assert torch.equal(zeros((), 2), torch.zeros(2))
    assert zeros([2, 2]).device.type == "cpu"  # a shape as JSON has it
    assert zeros((2, 2), device="meta").device.type == "meta"


def test_noise_of_a_shape_is_that_of_its_generator():
    assert torch.equal(noise((3, 4), seeded()), torch.randn(1, 3, 4, generator=seeded()))
    assert torch.equal(noise((3,), seeded(), 6), torch.randn(6, 3, generator=seeded()))
    assert noise((3,), seeded()).device.type == "cpu"
    assert noise((3,), seeded(), device="meta").shape == (1, 3)


@pytest.mark.parametrize("batch", [1, 4])
def test_an_input_is_repeated_as_it_is_in_its_own_type(batch):
    row = torch.tensor([[5, 0, 7]])
    for made in (zeros(row, batch), noise(row, seeded(), batch)):
        assert made.dtype == torch.int64
        assert made.tolist() == [[5, 0, 7]] * batch
    assert zeros(row).shape == noise(row, seeded()).shape == (1, 3)
    assert zeros(row, batch, "meta").device.type == noise(row, seeded(), batch, "meta").device.type == "meta"
    deeper = torch.arange(6.0).view(1, 2, 3)
    assert torch.equal(zeros(deeper, batch), deeper.repeat(batch, 1, 1))


def test_of_several_inputs_each_is_made_by_its_name():
    both = {"numbers": torch.tensor([[1.5, -2.0]]), "words": torch.tensor([[4, 2, 0]])}
    made = zeros(both, 2)
    assert {name: each.tolist() for name, each in made.items()} == {
        "numbers": [[1.5, -2.0]] * 2,
        "words": [[4, 2, 0]] * 2,
    }
    assert [each.shape[0] for each in noise(both, seeded(), 3).values()] == [3, 3]


def test_shapes_by_name_are_drawn_one_after_the_other():
    found, draws = noise({"a": (2,), "b": (3, 1)}, seeded(), 2), seeded()
    assert torch.equal(found["a"], torch.randn(2, 2, generator=draws))
    assert torch.equal(found["b"], torch.randn(2, 3, 1, generator=draws))


def test_only_one_tensor_is_a_row_of_numbers():
    assert row_of(torch.tensor([[[1, 2], [3, 4]]])) == [[1, 2], [3, 4]]
    assert row_of((3, 32, 32)) is None
    assert row_of({"a": torch.ones(1, 2)}) is None
