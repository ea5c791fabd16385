import numpy as np
import pytest
import torch

from winnow.core.errors import Refused
from winnow.data.inputs.audio import Augment, Spectrograms, augmented, checked, learnt, masked, shifted
from winnow.data.log_mel import filter_bank, log_mel
from winnow.data.source import Part, Source

FACTS = {"rate": 8000, "samples": 4000, "mels": 20, "window_ms": 25.0, "hop_ms": 10.0}


def noise(count=6, samples=4000, seed=0):
    return np.random.default_rng(seed).integers(-9000, 9000, (count, samples)).astype(np.int16)


def source(clips=None, test=None, **facts):
    part = Part({"clip": noise() if clips is None else clips, "label": np.arange(6) % 2})
    told = {"classes": ["a", "b"], "rate": 8000, **facts}
    return Source(part, None if test is None else Part({"clip": test, "label": np.zeros(len(test), int)}), told)


@pytest.fixture
def facts():
    return FACTS | learnt([{"clip": noise()}], FACTS)


def make(inputs, clips, count=None, seed=0):
    clips = torch.from_numpy(clips)
    return inputs.make({"clip": clips}, inputs.draw(len(clips), torch.Generator().manual_seed(seed)))


def test_training_clips_are_normalised_by_band(facts):
    x = make(Spectrograms(facts), noise())
    assert x.shape == (6, *facts["shape"]) == (6, 1, 20, 48)
    assert x.dtype == torch.float32
    assert torch.allclose(x.mean((0, 1, 3)), torch.zeros(20), atol=1e-4)
    assert torch.allclose(x.std((0, 1, 3), correction=0), torch.ones(20), atol=1e-4)


def test_moments_are_those_of_all_parts_together(facts):
    parts = learnt([{"clip": noise()[:2]}, {"clip": noise()[2:]}], FACTS)
    assert parts["mean"] == pytest.approx(facts["mean"])
    assert parts["std"] == pytest.approx(facts["std"])


def test_a_shift_moves_the_clip_and_silence_comes_in():
    clips = torch.arange(1, 6, dtype=torch.int16).repeat(3, 1)
    told = shifted(clips, torch.tensor([0, 2, -1]), 2)
    assert told.tolist() == [[1, 2, 3, 4, 5], [0, 0, 1, 2, 3], [2, 3, 4, 5, 0]]


def test_masks_zero_their_span_alone():
    x = torch.ones(2, 1, 3, 4)
    masked(x, torch.tensor([[1, 2], [0, 0]]), 2)
    masked(x, torch.tensor([[0, 0], [1, 4]]), 3)
    assert x[0, 0].tolist() == [[1] * 4, [0] * 4, [1] * 4]
    assert x[1, 0].tolist() == [[1, 0, 0, 0]] * 3


def test_draws_fit_and_reach_their_ends_and_follow_the_generator(facts):
    inputs = Spectrograms(facts, Augment(shift_ms=0.375, frames=4, bands=19))
    draws = inputs.draw(3000, torch.Generator().manual_seed(0))
    assert (draws["shifts"].min(), draws["shifts"].max()) == (-3, 3)
    for name, widest, size in (("frames", 4, 48), ("bands", 19, 20)):
        spans = draws[name]
        widths = spans[:, 1] - spans[:, 0]
        assert (widths.min(), widths.max()) == (0, widest)
        assert (spans.min(), spans.max()) == (0, size)
    again = inputs.draw(3000, torch.Generator().manual_seed(0))
    assert all(torch.equal(again[name], draws[name]) for name in draws)
    assert Spectrograms(facts).draw(5, torch.Generator()) == {}


def test_a_batch_is_augmented_as_drawn(facts):
    inputs, clips = Spectrograms(facts, Augment(100.0, 8, 6)), torch.from_numpy(noise())
    draws = inputs.draw(6, torch.Generator().manual_seed(3))
    x = inputs.make({"clip": clips}, draws)
    mean, std = (torch.tensor(facts[name])[:, None] for name in ("mean", "std"))
    bank = filter_bank(inputs.shape)
    for row in range(6):
        clip, by = clips[row], int(draws["shifts"][row])
        moved = torch.zeros_like(clip)
        moved[max(by, 0) : 4000 + min(by, 0)] = clip[max(-by, 0) : 4000 - max(by, 0)]
        want = (log_mel(moved[None], inputs.shape, bank)[0] - mean) / std
        (first, last), (low, high) = draws["frames"][row].tolist(), draws["bands"][row].tolist()
        want[low:high], want[:, first:last] = 0, 0
        assert torch.allclose(x[row, 0], want, atol=1e-5)


def test_what_is_unsaid_is_a_tenth_and_zero_leaves_out(facts):
    assert augmented(facts) == Augment(50.0, 4, 2)
    assert augmented(facts, shift_ms=0.0, bands=0) == Augment(0.0, 4, 0)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (Augment(frames=48), "augmentation frames takes 0 to 47 of 48; got 48"),
        (Augment(bands=-1), "augmentation bands takes 0 to 19 of 20; got -1"),
        (Augment(shift_ms=500.0), "shift_ms takes 0 to less than the clip's 500; got 500.0"),
    ],
)
def test_augmentation_of_more_than_a_clip_is_refused(facts, augment, said):
    with pytest.raises(Refused, match=said):
        Spectrograms(facts, augment)


def test_a_source_gets_the_facts_of_its_spectrograms():
    told = checked(source(test=noise(2, seed=1), mels=10)).facts
    assert told == {"classes": ["a", "b"], "rate": 8000, "samples": 4000, "mels": 10, "window_ms": 32.0, "hop_ms": 16.0}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (source(noise().astype(np.float32)), "train clips are float32 of shape .* it takes int16"),
        (source(noise()[:, None]), "it takes int16 \\(clips, samples\\)"),
        (source(noise() * np.array([[1], [1], [0], [1], [1], [1]], np.int16)), "silent, the first at row 2"),
        (source(test=noise(2, 3000)), "training clips have 4000 samples, test clips 3000; give them one"),
        (source(rate=8000.0), "fact rate is 8000.0; it takes the sampling rate in hertz"),
        (source(window_ms=600.0), "600 ms is 4800 samples"),
        (Source(Part({"image": noise()}), None, {}), "columns image and no 'clip'"),
    ],
)
def test_a_source_that_holds_no_clips_is_refused(given, said):
    with pytest.raises(Refused, match=said):
        checked(given)
