"""Limits on milliseconds: of this machine, and of devices that a file tells of."""

import json
import random
import shutil

import pytest

from tests.stages.tiny import tiny
from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.core.errors import Refused
from winnow.measure import latency as measuring
from winnow.measure.latency import Latency
from winnow.pipelines import search
from winnow.pipelines import select as selecting
from winnow.predictors.device import calibrated
from winnow.run import files, latency, outside
from winnow.run.device import MEASURED_FORMAT, Network, write_device
from winnow.run.front import front_limits
from winnow.run.limits import Limits, check_limits
from winnow.run.work import final_space
from winnow.tools.clean import left

COST = {"none": 0.0, "skip_connect": 0.1, "nor_conv_1x1": 0.5, "nor_conv_3x3": 1.0, "avg_pool_3x3": 0.3}
BASE = 2.0
CHILDREN = {"search__strategy": "spos", "search__epochs": 1, "select__exact__samples": 12}


def truth(arch) -> float:
    return BASE + sum(COST[option] for option in arch.values())


def made(folder, name="board", spread=0.05, **changes):
    """The file of a device that costs `COST`, but for what no sum tells; as params name it."""
    params, draws = tiny(**changes), random.Random(0)
    space = final_space(params, folder)
    archs = distinct(space, draws, 160)
    ms = [truth(arch) + draws.uniform(-spread, spread) for arch in archs]
    found = calibrated(name, space.decisions, archs[:120], ms[:120], archs[120:], ms[120:])
    write_device(folder / f"{name}.json", found, Network.of(params, folder, space), {})
    return f"{name}.json"


@pytest.fixture(scope="module")
def boards(prepared, tmp_path_factory):
    """A folder with splits and three devices; one is of a wider network."""
    folder = tmp_path_factory.mktemp("boards")
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    made(folder)
    made(folder, "wide", space__nas_bench_201__channels=8)
    content = json.loads((folder / "board.json").read_text())
    (folder / "twin.json").write_text(json.dumps(content))
    (folder / "slow.json").write_text(json.dumps({**content, "name": "slow"}))
    (folder / "text.json").write_text("board")
    (folder / "other.json").write_text('{"format": "winnow.architecture/1"}')
    del content["costs"]["1<-0"][0]
    (folder / "cut.json").write_text(json.dumps(content))
    return folder


def found_in(folder):
    content = json.loads((folder / files.SELECTIONS).read_text())
    return {method: Architecture.of(row["choices"]) for method, row in content["methods"].items()}


@pytest.fixture
def quick(monkeypatch):
    """This machine as fast as its number of convolutions; a list of those that it measured."""
    seen = []

    def measured(model, example, limit, **_):
        seen.append(sum(type(module).__name__ == "Conv2d" for module in model.modules()))
        return Latency(seen[-1], seen[-1] - 1, seen[-1] + 1, 50, "here")

    monkeypatch.setattr(latency, "latency_within", measured)
    return seen


def test_selections_keep_the_milliseconds_of_a_device_and_its_error(folder):
    limit = 4.0
    methods = ["evolution", "exact"]
    params = tiny(
        select__methods=methods, select__max_latency_ms=limit, select__device=made(folder), select__max_macs="90%",
        evaluate__controls=0, **CHILDREN,
    )  # fmt: skip
    search.main(params, folder)
    selecting.main(params, folder)
    error = json.loads((folder / "board.json").read_text())["error"]
    assert 0.04 < error < 0.2
    for arch in found_in(folder).values():
        assert truth(arch) <= limit, "the error is what the model may be off, and more"
    told = json.loads((folder / "reports/select.json").read_text())["limits"]
    assert told["max_latency_ms"] == limit
    assert told.keys() == {"max_latency_ms", "max_macs"}
    limits = Limits.of(params, folder)
    arch = Architecture.of(dict.fromkeys(final_space(params, folder).decisions, "skip_connect"))
    assert limits.sizes(arch)["latency_ms"] == pytest.approx(truth(arch) + error, abs=0.1)
    assert "at most 4 ms on board (select.max_latency_ms)" in str(limits)


def test_what_the_error_leaves_open_is_not_taken(folder):
    named = made(folder, spread=0.4)
    limits = Limits.of(tiny(select__max_latency_ms=4.0, select__device=named, select__methods=["exact"]), folder)
    (bound,) = limits.bounds
    archs = distinct(limits.space, random.Random(3), 300)
    verdicts = [bound.device.within(arch, bound.value) for arch in archs]
    assert set(verdicts) == {"yes", "no", "cannot tell"}
    assert [limits.allows(arch) for arch in archs] == [verdict == "yes" for verdict in verdicts]
    assert [limits.load(arch) <= 1 for arch in archs] == [verdict == "yes" for verdict in verdicts]


def test_several_devices_each_with_a_limit(boards):
    folder, boards = boards, ["board.json", "slow.json"]
    most = {"board": 4.0, "slow": 3.0}
    limits = Limits.of(tiny(select__max_latency_ms=most, select__device=boards, select__methods=["exact"]), folder)
    assert limits.record() == {"max_latency_ms.board": 4.0, "max_latency_ms.slow": 3.0}
    archs = distinct(limits.space, random.Random(3), 200)
    assert max(map(truth, filter(limits.allows, archs))) <= 3.0
    (folder / "odd.json").write_text((folder / "slow.json").read_text().replace('"slow"', '"pi (4)"'))
    odd = tiny(select__max_latency_ms=4.0, select__device=["board.json", "odd.json"], select__methods=["exact"])
    assert list(Limits.of(odd, folder).record()) == ["max_latency_ms.board", "max_latency_ms.pi__4_"]
    same = tiny(select__max_latency_ms=3.5, select__device=boards, select__methods=["exact"])
    assert Limits.of(same, folder).record() == {"max_latency_ms.board": 3.5, "max_latency_ms.slow": 3.5}


def test_entries_of_a_front_name_devices_of_their_own(boards):
    front = [{"max_latency_ms": 4.0}, {"max_latency_ms": 3.0, "device": "slow.json"}, {"max_macs": "50%"}]
    params = tiny(select__methods=["evolution"], select__device="board.json", select__front=front)
    menu = front_limits(params, boards, final_space(params, boards))
    assert [str(limits).partition(" (")[0] for limits in menu[:2]] == ["at most 4 ms on board", "at most 3 ms on slow"]
    assert [list(limits.record()) for limits in menu] == [["max_latency_ms"], ["max_latency_ms"], ["max_macs"]]
    assert outside.digests(params, boards, ("select",)).keys() == {"select.device", "select.front.1.device"}
    with pytest.raises(Refused, match=r"select.front.0 \(max_latency_ms 1.0\): none can: the fastest .* on board"):
        front_limits(
            params.model_copy(update={"select": _menu(params, {"max_latency_ms": 1.0})}), boards, menu[0].space
        )
    with pytest.raises(Refused, match=r"front.0: device: slow.json limits nothing by itself"):
        tiny(select__methods=["evolution"], select__front=[{"device": "slow.json", "max_macs": "50%"}])


def _menu(params, entry):
    return params.select.model_copy(update={"front": [entry]})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_latency_ms": 1.0}, r"the fastest architecture of the space takes 2.* ms \[.*\] on board, .* most 1 ms"),
        ({"max_latency_ms": {"pixel": 4.0}}, "no file of select.device tells of 'pixel'; they tell of board"),
        ({"device": ["board.json", "slow.json"], "max_latency_ms": {"board": 4.0}}, "no limit on 'slow'"),
        ({"device": ["board.json", "twin.json"]}, "twin.json tells of 'board', as another file before it does"),
        ({"device": "nothing.json"}, "no .*nothing.json: run `winnow measure` or `winnow calibrate`"),
        ({"device": "text.json"}, "text.json is not JSON"),
        ({"device": "other.json"}, "tells of no device: its format is 'winnow.architecture/1'"),
        ({"device": "cut.json"}, "cut.json is damaged .* decision '1<-0'"),
        ({"device": "wide.json"}, r"another network: it is of nas_bench_201 \(cells 1, channels 8\), .*channels 4\), "),
    ],
)  # fmt: skip
def test_a_device_that_does_not_fit_is_refused_before_anything_is_trained(changes, sentence, boards):
    given = {"max_latency_ms": 4.0, "device": "board.json", "methods": ["evolution"], **changes}
    params = tiny(**{f"select__{name}": value for name, value in given.items()}, search__strategy="spos")
    with pytest.raises(Refused, match=sentence):
        check_limits(params, boards)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"device": "a.json"}, "select: device: a.json limits nothing by itself"),
        ({"max_latency_ms": {"a": 1.0, "b": 2.0}, "device": "a.json"}, r"2 devices \(a, b\), and device names 1 files"),
        ({"max_latency_ms": {"a": 1.0}}, "1 devices"),
        ({"max_latency_ms": -1.0}, "select.max_latency_ms: takes milliseconds above 0"),
        ({"max_latency_ms": {}}, "takes milliseconds above 0"),
        ({"device": []}, "takes a file of `winnow calibrate` or `winnow measure`"),
    ],
)
def test_devices_and_limits_that_mean_nothing_are_refused_at_the_door(given, sentence):
    with pytest.raises(Refused, match=sentence):
        tiny(**{f"select__{name}": value for name, value in {"methods": ["evolution"], **given}.items()})


def test_a_table_of_what_was_measured_knows_those_alone(folder):
    params = tiny(select__max_latency_ms=4.0, select__device="table.json", select__methods=["evolution"])
    space = final_space(params, folder)
    network, archs = Network.of(params, folder, space).record(), distinct(space, random.Random(0), 3)
    rows = [
        {"about": {"network": network, "digest": a.digest}, "ms": ms, "low": ms - 0.5, "high": ms + 0.5}
        for a, ms in zip(archs[:2], (3.0, 3.8), strict=True)
    ]
    (folder / "table.json").write_text(json.dumps({"format": MEASURED_FORMAT, "name": "pi", "networks": rows}))
    limits = Limits.of(params, folder)
    assert [limits.allows(arch) for arch in archs[:2]] == [True, False]
    with pytest.raises(Refused, match=f"network {archs[2].digest} is not among the 2 measured on pi"):
        limits.allows(archs[2])
    assert outside.digests(params, folder, ("select",)).keys() == {"select.device"}
    exact = params.model_copy(update={"select": params.select.model_copy(update={"methods": ["exact"]})})
    with pytest.raises(Refused, match=r"'exact' adds up what single answers cost, .* \(at most 4 ms on pi .*calibrate"):
        check_limits(exact, folder)


def test_children_are_measured_here_once_and_never_again(folder, quick):
    limit = 15.0
    params = tiny(select__methods=["evolution"], select__max_latency_ms=limit, evaluate__controls=0, **CHILDREN)
    search.main(params, folder)
    selecting.main(params, folder)
    (arch,) = found_in(folder).values()
    child = final_space(params, folder).derive(arch)
    assert sum(type(module).__name__ == "Conv2d" for module in child.modules()) + 1 <= limit
    assert max(quick) > limit, "some were too slow"
    measured, limits = len(quick), Limits.of(params, folder)
    assert limits.allows(arch)
    selecting.main(params, folder)
    assert len(quick) == measured, "it goes on with what it knows, whenever it was stopped"
    assert found_in(folder) == {"evolution": arch}
    (remark,) = limits.remarks()
    assert remark.startswith("1 children measured, 1 within 15 ms, 0 beyond, 0 that the noise leaves open")
    assert [piece.kind for piece in left(folder / ".winnow")] == ["latency"]
    for below in (0.5, 12.0):  # what was within 15 ms need not be within 12
        Limits.of(tiny(select__methods=["evolution"], select__max_latency_ms=below, **CHILDREN), folder).allows(arch)
    assert len(quick) == measured


def test_so_many_children_beyond_the_limit_are_enough(prepared, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(latency, "PATIENCE", 5)
    (tmp_path / "data").symlink_to(prepared / "data")
    limits = Limits.of(tiny(select__methods=["evolution"], select__max_latency_ms=2.0), tmp_path)
    with pytest.raises(
        Refused,
        match=r"of the last 5 children measured on this .* none is within 2 ms for certain, 5 are beyond, and 0 the",
    ):
        distinct(limits.space, random.Random(0), 1, limits.allows)
    assert len(quick) == 5


def test_a_limit_below_the_smallest_child_of_this_machine_says_its_milliseconds(folder, quick):
    params = tiny(select__methods=["evolution"], select__max_latency_ms=1.0, search__strategy="spos")
    with pytest.raises(
        Refused, match=r"the smallest .* \(by MACs\) takes [\d.]+ ms \[.*\] on this machine .* at most 1 ms"
    ):
        search.main(params, folder)
    with pytest.raises(
        Refused, match=r"'annealing' adds up what single answers cost, .* \(at most 9 ms on this machine"
    ):
        check_limits(tiny(select__methods=["annealing"], select__max_latency_ms=9.0, search__strategy="spos"), folder)
    with pytest.raises(Refused, match=r"select.max_latency_ms: 'magnitude' decides one question after the other"):
        tiny(select__methods=["magnitude"], select__max_latency_ms=1.0)


def test_what_is_too_slow_costs_two_rounds_and_what_is_not_all_of_them(monkeypatch):
    times = iter([*[5.0] * 100])

    class Call:
        def __enter__(self):
            return lambda: next(times)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(measuring, "_ready", lambda *_: Call())
    slow = measuring.latency_within(None, (1,), 4.0, repeats=18, seconds=0)
    assert (slow.n, slow.low) == (2, 5.0)
    whole = measuring.latency_within(None, (1,), 5.0, repeats=18, seconds=0)
    assert (whole.n, whole.high) == (9, 5.0)
    times = iter([5.0, 9.0, *[5.0] * 100])  # a call that is not counted, and a round that something held up
    held_up = measuring.latency_within(None, (1,), 5.0, repeats=18, seconds=0)
    assert (held_up.n, held_up.high) == (9, 5.0)


def test_a_line_that_a_full_disk_cut_is_measured_again(tmp_path):
    path = tmp_path / "known.jsonl"
    path.write_text('{"digest": "a", "ms": 1.0, "low": 1.0, "high": 1.0, "limit": 2.0}\n{"digest": "b", "ms')
    known = latency._Known(path, dict(latency._lines(path)))
    assert known.found.keys() == {"a"}
