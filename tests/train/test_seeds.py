"""train.seeds: named streams, global ones lent and given back, and meta models made real."""

import pytest
import torch
from torch import nn

from winnow.spaces.darts import darts
from winnow.train.seeds import derived, generator, materialise, rng, seeded


def test_seeded_repeats_inside_and_leaves_the_outside_alone():
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(4)
    with seeded(3):
        assert torch.equal(torch.rand(4), first)
    with seeded(4):
        assert not torch.equal(torch.rand(4), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_gives_the_stream_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3):
        torch.rand(int(1 / 0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_seeded_covers_cuda():
    before = torch.cuda.get_rng_state()
    draws = []
    for _ in range(2):
        with seeded(3):
            draws.append(torch.rand(4, device="cuda"))
    assert torch.equal(*draws)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_streams_differ_by_seed_and_by_every_name():
    streams = [(0,), (1,), (0, "search"), (0, "search", "shuffle"), (0, "searchshuffle"), (0, "1"), (0, 1), (1, 0)]
    assert len({derived(*stream) for stream in streams}) == len(streams)
    assert len({rng(*stream).random() for stream in streams}) == len(streams)
    assert len({torch.rand(1, generator=generator(*stream)).item() for stream in streams}) == len(streams)


def test_streams_are_the_same_for_ever():
    # sha256 of the text [0, "search"]: another number here changes every result that was ever published
    assert derived(0, "search") == 3365349582103205119
    assert (rng(7, "a", 2).random(), generator(7, "a").initial_seed()) == (0.7591403009823731, 7644722150330257745)


def test_materialise_initialises_everything_the_same_way_twice():
    def made(seed: int) -> dict[str, torch.Tensor]:
        with torch.device("meta"):
            model = darts(channels=4, layers=3, final=True, auxiliary=True)
        return materialise(model, "cpu", seed).state_dict()

    first, again, other = made(0), made(0), made(1)
    assert all(torch.equal(first[name], again[name]) and first[name].isfinite().all() for name in first)
    weights = [name for name in first if first[name].dim() > 1]
    assert not any(torch.equal(first[name], other[name]) for name in weights)


def test_materialise_gives_each_layer_its_own_distribution():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(100, 50), nn.BatchNorm1d(50))
    assert materialise(model, "cpu", 0) is model
    assert 0.09 < model[0].weight.abs().max() <= 0.1  # uniform within 1 / sqrt(fan-in)
    assert torch.equal(model[1].running_var, torch.ones(50))
    assert int(model[1].num_batches_tracked) == 0


def test_materialise_keeps_what_is_shared():
    with torch.device("meta"):
        layer, a, b = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        b.weight = a.weight
        model = nn.Sequential(layer, nn.Sequential(layer), a, b)
    materialise(model, "cpu", 0)
    assert model[0] is model[1][0]
    assert model[2].weight is model[3].weight
    assert model[2].bias is not model[3].bias


def test_materialise_refuses_what_would_stay_uninitialised():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.empty(3))

    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(2, 2), Scale())
    with pytest.raises(TypeError, match=r"'1' \(Scale\) holds parameters or buffers but has no reset_parameters"):
        materialise(model, "cpu", 0)
