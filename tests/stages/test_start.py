"""What networks begin with: their own slice of what the search trained, all alike; or nothing, and the file says so."""

import json
import random
import shutil
import sys

import pytest
import torch

from tests.stages.tiny import run_all, tiny
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.data.loaders import in_order, open_split
from winnow.pipelines import inputs, retrain, select
from winnow.run import files
from winnow.run.model import load_model
from winnow.run.revision import md5_of
from winnow.run.start import Start, check_start, write_start
from winnow.run.work import final_space, search_space
from winnow.tasks.classify import IMAGES
from winnow.train.building import fresh
from winnow.train.evaluate import batch_statistics
from winnow.trust.why import why

CPU = torch.device("cpu")
MODULE = """
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x):
        return (x + self.second(self.b(self.first(self.a(x)).relu()))).relu()


def build(classes, image_channels):
    body = [nn.Conv2d(image_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), Block(), Block()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
"""
SPOS = {"search__strategy": "spos", "select__methods": ["evolution"], "retrain__from": "inherited"}
SPACES = {
    "auto": {"space__model": "my_small:build"},
    "ofa": {"space__ofa": {"width": 0.25}},
    "mobile": {"space__mobile": {"width": 0.1}},
    "nas_bench_201": {},
}


@pytest.fixture(autouse=True)
def network(tmp_path, monkeypatch):
    (tmp_path / "my_small.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_small", None)


def inheriting(name, **changes):
    return tiny(space__name=name, **{**SPACES[name], **SPOS, **changes})


def trained_looking(space):
    """Weights and statistics that no builder would give."""
    draws = torch.Generator().manual_seed(5)
    for name, tensor in space.state_dict().items():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=draws), alpha=0.1 if "running" in name else 0.05)
    return space


@pytest.mark.parametrize("name", SPACES)
def test_a_network_begins_as_the_space_under_its_architecture(name, folder):
    """To the bit, on statistics of the batch; and its own are those of the first rows of split weights."""
    params = inheriting(name)
    check_start(params, folder)
    space = trained_looking(search_space(params, folder)).to(memory_format=torch.contiguous_format)
    write_start(params, folder, space.state_dict())
    weights = open_split(folder / files.SPLITS, "weights", IMAGES, stage="retrain")
    begun, final = Start.of(params, folder, CPU, lambda split: weights), final_space(params, folder)
    x = next(iter(in_order(weights, 16)))[0]
    for seed in range(3):
        arch = space.decide(uniform(random.Random(seed)))
        model = begun.given(fresh(final, arch, CPU, seed), arch).to(memory_format=torch.contiguous_format)
        norms = [each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)]
        means = [norm.running_mean.clone() for norm in norms]
        with batch_statistics(model.eval()), batch_statistics(space.eval()):
            assert torch.equal(model(x), space(x, arch))
        for norm in norms:
            norm.train().momentum = 1.0
        with torch.no_grad():
            model(next(iter(in_order(weights, 64)))[0])  # select.calibration_images
        for norm, mean in zip(norms, means, strict=True):
            torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def inherited(tmp_path_factory):
    """A whole run whose retraining as good as stands still."""
    folder = tmp_path_factory.mktemp("inherited")
    (folder / "my_small.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    still = {"retrain__lr": 1e-12, "retrain__warmup_epochs": 0, "retrain__weight_decay": 0.0, "tune__trials": 0}
    against = ["original", "random"]
    yield run_all(inheriting("auto", search__epochs=12, evaluate__against=against, **still), folder)
    sys.path.remove(str(folder))


def test_what_is_delivered_began_with_what_the_search_trained(inherited):
    params = inheriting("auto")
    tensors, told = files.read_tensors(inherited / files.START, "select")
    assert tensors.keys() == files.read_tensors(inherited / files.SUPERNET, "search")[0].keys()
    assert told == {"from": "inherited", "space": "auto", "strategy": "spos", "batch": 256, "rows": 64}
    weights = open_split(inherited / files.SPLITS, "weights", IMAGES, stage="retrain")
    begun, final = Start.of(params, inherited, CPU, lambda split: weights), final_space(params, inherited)
    arch = files.read_architecture(inherited / files.ARCHITECTURE, final, "auto")
    slice_ = begun.given(fresh(final, arch, CPU, 0), arch)
    for seed in (0, 1):
        model, about = load_model(inherited / files.retrained(seed), "my_small:build")
        for (name, mine), given in zip(model.named_parameters(), slice_.parameters(), strict=True):
            torch.testing.assert_close(mine, given, rtol=0, atol=1e-6, msg=name)
        assert about["from"] == "what the search trained"
        assert about["provenance"]["begins"]["md5"] == md5_of(inherited / files.START)


def test_whoever_is_compared_begins_alike(inherited):
    """Equal slices that hardly move end equally, whatever the seed: from scratch they would not."""
    result = json.loads((inherited / "reports/evaluate.json").read_text())
    assert result["begins"] == "what the search trained"
    assert abs(result["found_scores"][0] - result["found_scores"][1]) < 3
    assert result["found_scores"][0] > 20  # ten classes
    (original,) = result["against"]
    assert original["begins"] == "what the search trained"
    assert original["verdict"].endswith(
        "both from what the search trained, and it may reach more when it is trained alone"
    )
    page = (inherited / "reports/report.html").read_text()
    assert "Each point is a network trained from what the search trained" in page
    steps = {step.name: step.facts for step in why(inherited / files.MODEL)}
    assert steps["parameters"]["begins"]["strategy"] == "spos"


def test_from_scratch_the_file_never_changes(finished, tmp_path):
    """So that no stage runs again where another search found the same."""
    tensors, told = files.read_tensors(finished / files.START, "select")
    assert (tensors, told) == ({}, {"from": "scratch"})
    folder = shutil.copytree(finished, tmp_path / "work")
    select.main(tiny(seed=0, select__methods=["magnitude"], select__batch=32), folder)
    assert (folder / files.START).read_bytes() == (finished / files.START).read_bytes()
    with pytest.raises(
        Refused, match=r"made for retrain.from scratch, params.yaml says inherited: run `winnow select`"
    ):
        retrain.main(tiny(**SPOS), folder, 0)
    files.write_tensors(folder / files.START, {}, {"from": "inherited", "rows": 64, "batch": "many"})
    with pytest.raises(
        Refused, match=r"start.safetensors does not say how it is calibrated: run `winnow select` again"
    ):
        Start.of(tiny(**SPOS), folder, CPU, lambda split: None)
    files.write_tensors(folder / files.START, {}, {"from": "inherited", "rows": 64, "batch": 32})
    with pytest.raises(Refused, match=r"start.safetensors holds the weights of another network: Missing key"):
        Start.of(tiny(**SPOS), folder, CPU, lambda split: None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"search__strategy": "training_free", "select__methods": ["random"]},
            "retrain.from: strategy 'training_free' trains no weights .* or search with spos or fair",
        ),
        (
            {"search__strategy": "trials", "select__methods": ["best"]},
            "retrain.from: strategy 'trials' trains no weights",
        ),
        ({"search__strategy": "darts", "evaluate__random_search": 3}, "evaluate.random_search: .*trains no weights"),
        ({"retrain__from": "inherit"}, r"retrain.from: .*'scratch' or 'inherited', not 'inherit' \(did you mean"),
        ({"retrain__form": "inherited"}, r"unknown key retrain.form \(did you mean 'from'\?\)"),
    ],
)
def test_where_nothing_is_left_to_begin_with_is_refused_by_name(changes, said):
    with pytest.raises(Refused, match=said):
        tiny(**{"retrain__from": "inherited", **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"retrain__space": {"channels": 8}},
            r"the search trained '0.weight' \(4, .*has it as \(8, .*set retrain.from",
        ),
        ({"search__strategy": "pc_darts"}, "the network that is retrained answers otherwise"),
        ({"space__name": "darts", "space__darts": {"channels": 2, "layers": 3}}, "and the network .* has no such"),
    ],
)
def test_another_network_than_was_searched_is_refused_before_anything_is_trained(changes, said, folder):
    params = tiny(**{"search__strategy": "darts", "retrain__from": "inherited", **changes})
    with pytest.raises(Refused, match=said):
        check_start(params, folder)


def test_only_select_runs_again_where_networks_begin_otherwise(tmp_path):
    """Dvc sees it among the inputs, so that a params.yaml need not say it."""
    told = []
    for begins in ("scratch", "inherited"):
        params = tiny(search__strategy="spos", select__methods=["evolution"], retrain__from=begins)
        inputs.main(params, tmp_path)
        told.append({path.name: path.read_bytes() for path in (tmp_path / "artifacts/inputs").iterdir()})
    assert {name for name in told[0] if told[0][name] != told[1][name]} == {"select.json"}
