"""Limits on what is retrained, on images that are higher than wide: every strategy and selection keeps them or says no.

The network is one of a user's own and sized by the images, so that a square where there is none stops a builder too.
"""

import json
import shutil
import sys

import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from tests.stages.tiny import tiny
from winnow.cli.main import cli
from winnow.config.methods import objection, selection
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.data.inputs.images import shape_of
from winnow.measure import cost
from winnow.pipelines import prepare, search
from winnow.pipelines import select as selecting
from winnow.run import evaluators, files
from winnow.run.limits import Limits
from winnow.run.work import facts, final_space
from winnow.search.methods import STRATEGIES
from winnow.search.selections import SELECTIONS
from winnow.spaces import build
from winnow.tools import plan as planning
from winnow.trials.table import as_rows, read_table

SHAPE = (2, 12, 8)
MODULE = """
import numpy as np
from torch import nn
from winnow.core.holes import Choice
from winnow.core.replace import replace
from winnow.core.space import Space
from winnow.data.labelled import classified, labelled
from winnow.data.source import Options, Source

def images(options):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    pixels = rng.integers(0, 255, (120, 2, 12, 8), dtype=np.uint8)
    return classified(labelled(pixels, labels), None, ("a", "b", "c"))

def network(classes, image_channels, image_height, image_width, width=4):
    def choice(name):
        return Choice(name, {f"conv_{k}": nn.Conv2d(width, width, k, padding=k // 2) for k in (1, 3, 5)})
    head = nn.Linear(width * image_height * image_width, classes)
    return Space(nn.Sequential(
        nn.Conv2d(image_channels, width, 1), choice("l/0"), nn.BatchNorm2d(width), nn.ReLU(), choice("l/1"),
        nn.BatchNorm2d(width), nn.Flatten(), head,
    ))

class Net(nn.Module):
    def __init__(self, classes, image_channels):
        super().__init__()
        self.stem, self.block = nn.Conv2d(image_channels, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

    def forward(self, x):
        return self.head(self.block(self.stem(x)))

def own(classes, image_channels):
    def rule(path, module):
        if path == "block":
            return Choice(path, {"slim": nn.Conv2d(4, 4, 1), "same": module, "wide": nn.Conv2d(4, 4, 5, padding=2)})
    return replace(Net(classes, image_channels), rule)

def by_side(classes, image_channels, image_size):
    return network(classes, image_channels, image_size * 2 // 2, image_size)
"""
STEM, HEAD = 2 * 4 * 96, 4 * 96 * 3
CONV = {k: 4 * 4 * k * k * 96 for k in (1, 3, 5)}  # MACs of a candidate on 12 x 8 pixels


def oblong(**changes):
    own = {
        "data__source": "oblong_of_a_user:images", "data__limit_train": None, "data__augment": {"pad": 0},
        "space__name": "oblong_of_a_user:network", "search__epochs": 1, "search__batch": 8, "search__collapse": "off",
        "search__unas__warmup": 0, "search__unas__reward_samples": 2, "search__pc_darts__share": 2,
        "search__pc_darts__warmup": 0, "search__sgas__warmup": 0, "search__sgas__interval": 1,
        "search__trials__count": 6, "search__trials__training__epochs": 1, "search__trials__sampler": "random",
        "search__training_free__proxies": ["naswot"], "search__training_free__batch": 8,
        "select__evolution__generations": 0, "select__evolution__calibration_images": 8,
        "select__random__samples": 3, "select__likeliest__count": 2,
    }  # fmt: skip
    return tiny(**{**own, **changes})


@pytest.fixture(scope="module")
def oblong_splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oblong")
    (folder / "oblong_of_a_user.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    prepare.main(oblong(), folder)
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("oblong_of_a_user", None)


@pytest.fixture
def work(oblong_splits, tmp_path):
    shutil.copytree(oblong_splits / "data", tmp_path / "data")
    return tmp_path


def macs_of(arch):
    return STEM + HEAD + sum(CONV[int(str(option)[-1])] for option in arch.values())


def chosen(folder):
    content = json.loads((folder / files.SELECTIONS).read_text())
    return {method: (Architecture.of(row["choices"]), row) for method, row in content["methods"].items()}


APART = ("ofa", "abs", "neas", "nse")  # open sizes, of which this space has none; shrink spaces that are larger
PAIRS = [
    (s, m)
    for s in STRATEGIES
    for m in SELECTIONS
    if s not in APART and selection(m).keeps_limits and objection(s, m) is None
]
METHODS_OF = {s: [m for t, m in PAIRS if t == s] for s, _ in PAIRS}


QUICK = ("darts", "spos", "trials", "training_free", "fair", "cream")  # the others leave what darts leaves


@pytest.mark.parametrize("strategy", [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in METHODS_OF])
def test_every_selection_that_takes_a_limit_keeps_it_at_the_images_true_size(strategy, work):
    limit = STEM + HEAD + CONV[3] + CONV[1]  # 3 of 9 networks; counted on 12 x 12 or 8 x 8 it would be others
    short = {"select__finalists": {"count": 2, "epochs": 1}} if "finalists" in METHODS_OF[strategy] else {}
    params = oblong(
        **short,
        search__strategy=strategy,
        search__epochs=3 if strategy == "sgas" else 1,
        select__methods=METHODS_OF[strategy],
        select__max_macs=limit,
        select__max_params="90%",
    )
    search.main(params, work)
    selecting.main(params, work)
    found = chosen(work)
    assert list(found) == METHODS_OF[strategy]
    for arch, row in found.values():
        assert row["macs"] == macs_of(arch) <= limit
        child = build("oblong_of_a_user:network", {}, **facts(params, work)).derive(arch)
        assert row["macs"] == cost.macs(child, SHAPE)
    told = json.loads((work / "reports/select.json").read_text())["limits"]
    assert told == {"max_macs": limit, "max_params": 1791}


def test_the_largest_network_is_what_the_numbers_above_say(work):
    arch = Architecture.of({"l/0": "conv_5", "l/1": "conv_5"})
    child = build("oblong_of_a_user:network", {}, **facts(oblong(), work)).derive(arch)
    assert (cost.params(child), cost.macs(child, SHAPE)) == (1991, macs_of(arch))


@pytest.mark.parametrize("evaluator", ["training", "inherited", "proxy"])
def test_trials_count_macs_at_the_images_true_size(evaluator, work):
    limit = STEM + HEAD + CONV[3] + CONV[3]
    constraints = {"macs": {"max": limit, "min": STEM + HEAD + CONV[1] + CONV[3]}}
    objective = {"naswot" if evaluator == "proxy" else "accuracy": "maximize", "macs": "minimize"}
    params = oblong(
        search__strategy="trials", select__methods=["best"], search__trials__evaluator=evaluator,
        search__trials__constraints=constraints, search__trials__objectives=objective,
        search__trials__training__resolution=2, search__trials__count=8,
    )  # fmt: skip
    search.main(params, work)
    selecting.main(params, work)
    rows = as_rows(read_table(work / files.TRIALS))
    for row in rows:
        assert row.metrics["macs"] == macs_of(Architecture.from_json(row.architecture)), "of a square in earlier times"
    assert {row.feasible for row in rows} == {True, False}
    ((arch, row),) = chosen(work).values()
    assert constraints["macs"]["min"] <= row["macs"] == macs_of(arch) <= limit
    assert Limits.of(params, work).record() == {"max_macs": limit, "min_macs": constraints["macs"]["min"]}


def test_what_trials_shorten_knows_both_sides_of_the_smaller_image(work):
    params = oblong(search__strategy="trials", select__methods=["best"], search__trials__training__resolution=2)
    evaluate = evaluators.search(str(work), params.model_dump(), "cpu", None, None)
    assert evaluate.train.columns["image"].shape[1:] == (2, 6, 4)
    with torch.device("cpu"):
        child = evaluate.space.derive({"l/0": "conv_1", "l/1": "conv_1"})
    assert child[-1].in_features == 4 * 6 * 4


def test_limits_of_the_search_and_of_the_selection_both_hold(work):
    largest, smaller = macs_of({"a": "conv_5", "b": "conv_3"}), macs_of({"a": "conv_3", "b": "conv_1"})
    trying = {"search__strategy": "trials", "select__methods": ["best"], "search__trials__count": 12}
    trying |= {"search__trials__evaluator": "proxy", "search__trials__objectives": {"naswot": "maximize"}}
    trying |= {"search__trials__constraints": {"macs": {"max": largest}}}
    search.main(oblong(**trying), work)
    selecting.main(oblong(**trying, select__max_macs=smaller), work)
    ((arch, _),) = chosen(work).values()
    assert macs_of(arch) <= smaller
    rows = [row for row in as_rows(read_table(work / files.TRIALS)) if row.feasible]
    assert any(row.metrics["macs"] > smaller for row in rows), "the trials were free to take more"


def test_trials_that_are_all_beyond_the_limit_are_told_so(work):
    trying = {"search__strategy": "trials", "select__methods": ["best"], "search__trials__count": 1}
    trying |= {"search__trials__evaluator": "proxy", "search__trials__objectives": {"naswot": "maximize"}}
    search.main(oblong(**trying), work)
    (row,) = as_rows(read_table(work / files.TRIALS))
    assert row.metrics["macs"] > macs_of({"a": "conv_1", "b": "conv_1"}), "the seed was chosen so"
    with pytest.raises(Refused, match=r"none of 1 finished trials is within at most .* macs \(select.max_macs\)"):
        selecting.main(oblong(**trying, select__max_macs=int(row.metrics["macs"]) - 1), work)
    assert not (work / files.ARCHITECTURE).exists()


def test_a_network_beyond_its_limit_is_never_written(work, monkeypatch):
    largest = Architecture.of({"l/0": "conv_5", "l/1": "conv_5"})
    (work / "ours.py").write_text(
        "from winnow import Architecture, selection\n\n\n"
        "@selection('initialised', 'is ours', keeps_limits=True)\n"
        "def largest(bench):\n"
        f"    return Architecture.from_json({largest.to_json()!r}), []\n"
    )
    monkeypatch.syspath_prepend(str(work))
    params = oblong(search__strategy="training_free", select__methods=["ours:largest"], select__max_params="90%")
    search.main(params, work)
    with pytest.raises(
        Refused, match=rf"ours:largest chose {largest.digest}, which has 1,991 params, and the limit is at most"
    ):
        selecting.main(params, work)
    assert not (work / files.ARCHITECTURE).exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"select__max_params": 10}, "none can: the smallest .* has 1,223 params, and the limit is at most 10"),
        ({"select__max_macs": "1%"}, "of the largest, 78,720"),
        ({"select__max_macs": 4991, "select__max_params": 1224}, "none can: the smallest .* has 4,992 macs"),
    ],
)  # fmt: skip
def test_none_can_is_said_before_anything_is_trained(changes, sentence, work):
    params = oblong(select__methods=["evolution"], **changes)
    (work / files.SEARCH).mkdir(parents=True)
    (work / files.SEARCH / "left.txt").write_text("by an earlier search")
    with pytest.raises(Refused, match=sentence):
        search.main(params, work)
    assert (work / files.SEARCH / "left.txt").exists(), "nothing is lost"
    with pytest.raises(Refused, match="none can"):
        planning.plan(params, work)


def test_a_constraint_that_no_trial_can_meet_is_said_before_anything_is_trained(work):
    trying = {"search__strategy": "trials", "select__methods": ["best"]}
    with pytest.raises(Refused, match=r"none can: the smallest .* \(search.trials.constraints.params.max\)"):
        search.main(oblong(**trying, search__trials__constraints={"params": {"max": 100}}), work)
    with pytest.raises(Refused, match=r"none can: the largest .* is at least 9,999 params"):
        search.main(oblong(**trying, search__trials__constraints={"params": {"min": 9999}}), work)
    limits = {"search__trials__constraints": {"params": {"min": 1900}}, "select__max_params": 1300}
    with pytest.raises(Refused, match=r"none can: at least 1,900 params .* and at most 1,300 params"):
        search.main(oblong(**trying, **limits), work)


def test_bits_and_sizes_are_limited_together(tmp_path):
    """Evolution; half of what the largest takes of each, or little more."""
    params = tiny(
        space__name="resnet",
        space__resnet={"width": 0.0625, "bits": ["w2a2", "w4a4"], "channels": [50, 100], "clip": 2.0},
        search__strategy="spos",
        search__epochs=1,
        select__methods=["evolution"],
        select__max_bitops="50%",
        select__max_macs="80%",
        select__max_params="80%",
    )
    prepare.main(params, tmp_path)
    search.main(params, tmp_path)
    selecting.main(params, tmp_path)
    limits = Limits.of(params, tmp_path)
    assert list(limits.record()) == ["max_params", "max_macs", "max_bitops"]
    ((arch, row),) = chosen(tmp_path).values()
    largest = limits.space.decide(lambda d: d.values[-1])
    sizes, full = (cost.sizes(limits.space.derive(each), limits.space.example) for each in (arch, largest))
    for metric, share in (("params", 0.8), ("macs", 0.8), ("bitops", 0.5)):
        assert row[metric] == sizes[metric] <= limits.record()[f"max_{metric}"] == int(full[metric] * share)
    tried = pq.read_table(tmp_path / files.EVIDENCE).column("option").to_pylist()
    assert len(set(tried)) == len(tried) > 4


def test_a_limit_on_bits_is_refused_where_no_layer_has_them(work):
    with pytest.raises(Refused, match=r"select.max_bitops: no layer of space 'oblong_.*' is quantised: leave it out"):
        search.main(oblong(select__methods=["evolution"], select__max_bitops="50%"), work)


def test_a_plan_says_sizes_limits_and_who_keeps_them(work):
    params = oblong(select__methods=["evolution"], select__max_macs="50%")
    sizes = []
    plan = planning.plan(params, work, show=sizes.append)
    assert (plan.params[0], plan.params[2]) == (1223, 1991)
    assert plan.macs[0] == macs_of({"a": "conv_1", "b": "conv_1"})
    assert plan.macs[2] == macs_of({"a": "conv_5", "b": "conv_5"})
    assert "50% of the largest, 78,720" in plan.limits
    assert 30 < sizes[0].within == plan.within < 60, "four networks of nine do"


def test_winnow_plan_shows_the_sizes_and_then_that_none_can(work):
    import yaml

    (work / "params.yaml").write_text(
        yaml.safe_dump(oblong(select__methods=["evolution"], select__max_params=10).model_dump())
    )
    result = CliRunner().invoke(cli, ["plan", "--folder", str(work)])
    assert "params  min 1,223  median" in result.output
    assert "limits: at most 10 params (select.max_params); 0 of 100 sampled children keep them" in result.output
    assert isinstance(result.exception, Refused)
    assert "none can" in str(result.exception)


def test_a_builder_of_squares_is_told_what_the_images_are(work):
    with pytest.raises(Refused, match=r"not square \(image_size is \(12, 8\); take image_height and image_width\)"):
        final_space(oblong(space__name="oblong_of_a_user:by_side"), work)


def test_a_share_is_of_the_users_own_network_where_the_space_was_made_of_one(work):
    params = oblong(space__name="oblong_of_a_user:own", select__methods=["evolution"], select__max_params="100%")
    limits = Limits.of(params, work)
    own = final_space(params, work).original
    assert limits.record() == {"max_params": limits.sizes(own)["params"]}
    assert "100% of your network, 175" in limits.describe()
    assert [limits.allows(Architecture.of({"block": option})) for option in ("slim", "same", "wide")] == [
        True,
        True,
        False,
    ]


def test_facts_hold_the_true_shape(work):
    assert shape_of(facts(oblong(), work)) == SHAPE


@pytest.mark.parametrize("method", [m for m in SELECTIONS if not selection(m).keeps_limits])
def test_a_selection_without_limits_is_refused_when_parameters_are_read(method):
    with pytest.raises(Refused, match=rf"select.max_params: '{method}' decides .* select with likeliest or evolution"):
        tiny(select__methods=[method], select__max_params="50%")
