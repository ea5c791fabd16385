import math

import pytest
import torch

from winnow.core.errors import Refused
from winnow.data import log_mel as lm
from winnow.data.log_mel import Shape, filter_bank, power, shape_of

SHAPE = Shape(rate=8000, samples=4000, window=200, hop=80, mels=20)


def tone(hertz, samples=4000, rate=8000, level=0.5):
    return level * torch.sin(2 * math.pi * hertz * torch.arange(samples) / rate)


def test_the_mel_scale_has_its_known_points():
    assert lm.mel(0) == 0
    assert lm.mel(1000) == pytest.approx(1000, abs=0.02)
    assert lm.mel(700) == pytest.approx(2595 * math.log10(2))
    assert lm.hertz(lm.mel(3217.0)) == pytest.approx(3217)


def test_rows_of_a_filter_bank_computed_by_hand():
    """Two bands, a bin every 100 Hz to 700: 781.17 mel over three steps; the corners are 0, 181.9, 411.2, 700 Hz."""
    bank = filter_bank(Shape(rate=1400, samples=100, window=14, hop=7, mels=2))
    third = 2 ** (1 / 3)
    corners = [0, 700 * (third - 1), 700 * (third**2 - 1), 700]
    rows = [
        [min((f - low) / (peak - low), (high - f) / (high - peak)) for f in range(0, 701, 100)]
        for low, peak, high in (corners[:3], corners[1:])
    ]
    assert bank.tolist() == [pytest.approx([max(v, 0) for v in row], abs=1e-6) for row in rows]
    assert bank[0].tolist() == pytest.approx([0, 0.5496, 0.9213, 0.4851, 0.0488, 0, 0, 0], abs=1e-4)


def test_neighbouring_bands_share_every_frequency_between_the_outer_peaks():
    bank = filter_bank(SHAPE)
    inner = bank.argmax(1)
    assert torch.allclose(bank.sum(0)[inner[0] + 1 : inner[-1]], torch.ones(()), atol=1e-6)


def test_power_keeps_the_energy_of_a_window():
    """Parseval: all bins of the two-sided transform hold the window's energy times its length."""
    x = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    p = power(x, SHAPE)
    hann = torch.hann_window(200)
    two_sided = p.sum(2) + p[:, :, 1:-1].sum(2)
    energy = (x.unfold(1, 200, 80) * hann).square().sum(2) / hann.square().sum()
    assert p.shape == (3, 11, 101)
    assert torch.allclose(two_sided / 200, energy, rtol=1e-4)


def test_white_noise_has_its_variance_in_every_bin():
    x = 0.3 * torch.randn(20, 8000, generator=torch.Generator().manual_seed(0))
    assert power(x, SHAPE).mean().item() == pytest.approx(0.09, rel=0.03)


@pytest.mark.parametrize("hertz", [320, 1000, 2520])
def test_a_pure_tone_peaks_in_its_band_with_its_power(hertz):
    """A tone of amplitude a puts a² (Σ hann)² / 4 / Σ hann² into the bin it lies on, its neighbours a quarter each.

    At mean power 1, a² is 2.
    """
    clip = (tone(hertz) * 32768).round().to(torch.int16)[None]
    x = lm.log_mel(clip, SHAPE, bank := filter_bank(SHAPE))
    assert x.shape == (1, 20, SHAPE.frames)
    centres = [lm.hertz(lm.mel(4000) * (i + 1) / 21) for i in range(20)]
    nearest = min(range(20), key=lambda i: abs(lm.mel(centres[i]) - lm.mel(hertz)))
    assert set(x[0].argmax(0).tolist()) == {nearest}
    hann = torch.hann_window(200)
    bin_of, peak = hertz // 40, 2 * hann.sum() ** 2 / 4 / hann.square().sum()
    told = peak * (bank[:, bin_of] + (bank[:, bin_of - 1] + bank[:, bin_of + 1]) / 4)
    assert x[0, nearest, 3].item() == pytest.approx(math.log(told[nearest] + 1e-6), abs=1e-3)


def test_silence_is_the_floor_and_loudness_tells_nothing():
    bank = filter_bank(SHAPE)
    assert torch.allclose(
        lm.log_mel(torch.zeros(1, 4000, dtype=torch.int16), SHAPE, bank), torch.tensor(math.log(1e-6))
    )
    noise = torch.randint(-8000, 8000, (1, 4000), generator=torch.Generator().manual_seed(1)).to(torch.int16)
    louder, quieter = (lm.log_mel(clips, SHAPE, bank) for clips in (4 * noise, noise))
    assert torch.allclose(louder, quieter, atol=1e-4)
    assert (quieter.exp().mean() / 2).item() == pytest.approx(bank.sum(1).mean().item() / 2, rel=0.2)


def test_moments_are_those_of_all_clips_whatever_the_batches():
    clips = torch.randint(-9000, 9000, (10, 4000), generator=torch.Generator().manual_seed(2)).to(torch.int16)
    x = lm.log_mel(clips, SHAPE, filter_bank(SHAPE)).double()
    for size in (3, 10):
        mean, std = lm.moments(clips.split(size), SHAPE)
        assert mean == pytest.approx(x.mean((0, 2)).tolist())
        assert std == pytest.approx(x.std((0, 2), correction=0).tolist(), rel=1e-6)


def test_what_makes_no_spectrogram_is_a_sentence():
    assert shape_of(8000, 8000, 32, 16, 32) == Shape(8000, 8000, 256, 128, 32)
    with pytest.raises(Refused, match="600 ms is 4800 samples at 8000 Hz; it takes 2 to the 4000 of a clip"):
        shape_of(8000, 4000, 600, 10, 20)
    with pytest.raises(Refused, match="mel bands hold no frequency of a window of 8 ms at 8000 Hz; take fewer"):
        shape_of(8000, 4000, 8, 10, 80)
