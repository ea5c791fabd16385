"""runtime.workers: whole stages side by side end in the bytes of one after another."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import yaml

from tests.clusters import NODE, cluster_of, killed_when, ray_test
from tests.stages.tiny import tiny
from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.pipelines import evaluate, retrain, study
from winnow.run import by_workers, files
from winnow.run import searches as further
from winnow.run.combinations import Cell
from winnow.run.work import Work
from winnow.tools.plan import share
from winnow.tracking import Run
from winnow.trials.executors import Inline, side_by_side
from winnow.trials.outcome import Job
from winnow.trials.processes import Worker

TWO = {"trials__executor": "processes", "runtime__workers": 2}


def test_seeds_by_workers_of_which_one_is_killed_give_the_same_bytes(finished, tmp_path, monkeypatch, capsys):
    for name in ("data", "artifacts"):
        shutil.copytree(finished / name, tmp_path / name)
    shutil.rmtree(tmp_path / "artifacts/retrain")
    begin, killed = Worker.begin, []

    def killing(self, number, payload):
        begin(self, number, payload)
        if not killed:
            killed.append(number)
            self.process.kill()

    monkeypatch.setattr(Worker, "begin", killing)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny(**TWO).model_dump(mode="json", by_alias=True)))
    assert cli.run(["retrain", "--folder", str(tmp_path)]) == 0
    assert killed
    assert capsys.readouterr().out.count("is done") == 2
    for seed in (0, 1):
        for path in (files.retrained(seed), files.REPORTS / f"retrain/{seed}.csv"):
            assert (tmp_path / path).read_bytes() == (finished / path).read_bytes()


@pytest.fixture
def two_nodes():
    """A cluster of two nodes of two CPUs beside its head: the last, and what makes each job take a whole one."""
    with cluster_of({**NODE, "num_cpus": 0}) as made:
        made.add_node(**NODE)
        doomed = made.add_node(**NODE)
        ray = {"executor": "ray", "address": made.address, "resources": {"cpu": 2}}
        yield doomed, {"runtime__workers": 2, **{f"trials__{name}": value for name, value in ray.items()}}


@ray_test
def test_seeds_on_a_cluster_of_which_a_node_is_killed_give_the_same_bytes(finished, tmp_path, two_nodes):
    for name in ("data", "artifacts"):
        shutil.copytree(finished / name, tmp_path / name)
    shutil.rmtree(tmp_path / "artifacts/retrain")
    doomed, on_them = two_nodes
    hand, evaluators = killed_when(doomed, bool)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny(**on_them).model_dump(mode="json", by_alias=True)))
    assert cli.run(["retrain", "--folder", str(tmp_path)]) == 0
    hand.join(1)
    assert len(evaluators) == 1
    for seed in (0, 1):
        for path in (files.retrained(seed), files.REPORTS / f"retrain/{seed}.csv"):
            assert (tmp_path / path).read_bytes() == (finished / path).read_bytes()


@ray_test
def test_cells_on_a_cluster_of_which_a_node_is_killed_give_the_same_rows(folder, tmp_path, two_nodes):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    study.main(tiny(**STUDY), folder)
    doomed, on_them = two_nodes
    hand, evaluators = killed_when(doomed, bool)
    study.main(tiny(**STUDY, **on_them), other)
    hand.join(1)
    assert len(evaluators) == 1
    assert table(other) == table(folder)
    assert supernets(other) == supernets(folder)


@ray_test
def test_further_searches_on_a_cluster_are_those_of_one_process(finished, tmp_path, two_nodes):
    _, on_them = two_nodes
    found = []
    for name, more in (("one", {}), ("ray", on_them)):
        shutil.copytree(finished, tmp_path / name)
        evaluate.main(tiny(evaluate__searches=3, **more), tmp_path / name)
        found.append(json.loads((tmp_path / name / files.REPORTS / "evaluate.json").read_text()))
    assert found[0]["find_scores"] == found[1]["find_scores"]
    assert [each["outcome"] for each in found] == [found[0]["outcome"]] * 2
    assert len(found[0]["find_scores"]) == 3


def here(monkeypatch) -> list[dict]:
    """Workers in this process; what they were told."""
    told = []

    def inline(work, factory, settings, count):
        assert (work.params.runtime.workers, count) == (2, 2)
        told.append(settings)
        module = {"winnow.pipelines.study:worker": study, "winnow.pipelines.retrain:worker": retrain}[factory]
        return Inline(module.worker(**settings, device="cpu"))

    monkeypatch.setattr(by_workers, "executor", inline)
    return told


STUDY = {
    "study__methods": {"darts": {"search.strategy": "darts"}, "beta_darts": {"search.strategy": "beta_darts"}},
    "study__selections": {name: {"select.methods": [name]} for name in ("magnitude", "threshold")},
    "study__seeds": [0],
    "search__epochs": 1,
}


def supernets(folder) -> dict:
    """Their bytes, by the folders that name what they stand on."""
    found = {path.parts[-4]: path.read_bytes() for path in folder.glob(f".winnow/study/supernet-*/{files.SUPERNET}")}
    assert len(found) == 2
    return found


def table(folder) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in pq.read_table(folder / study.TABLE).to_pylist()]


def test_cells_by_workers_give_the_same_rows_and_one_that_fails_does_so_alone(folder, monkeypatch, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    real = study.select.main

    def broken(params, place):
        if params.search.strategy == "beta_darts" and params.select.methods == ["threshold"]:
            raise Refused("no such luck")
        real(params, place)

    monkeypatch.setattr(study.select, "main", broken)
    with pytest.raises(Refused, match="1 of 4 cells failed") as alone:
        study.main(tiny(**STUDY), folder)
    told = here(monkeypatch)
    with pytest.raises(Refused) as shared:
        study.main(tiny(**STUDY, **TWO), other)
    assert str(shared.value) == str(alone.value)
    assert table(other) == table(folder)
    assert supernets(other) == supernets(folder)
    assert len(told) == 1
    assert not list((other / ".winnow").glob("cells-*"))


def test_cells_of_one_supernet_are_one_job(folder, monkeypatch):
    here(monkeypatch)
    jobs, real = [], by_workers.side_by_side
    monkeypatch.setattr(by_workers, "side_by_side", lambda runs, given: jobs.extend(given) or real(runs, given))
    study.main(tiny(**STUDY, **TWO), folder)
    assert [len(json.loads(job.parameters["cells"])) for job in jobs] == [2, 2]
    jobs.clear()
    study.main(tiny(**STUDY, **TWO), folder)  # all are there
    assert jobs == []


@pytest.mark.slow
def test_cells_in_processes(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    study.main(tiny(**STUDY), folder)
    study.main(tiny(**STUDY, **TWO), other)
    assert table(other) == table(folder)


def test_further_searches_are_shared(folder, monkeypatch):
    params = tiny(evaluate__searches=4, **TWO)
    asked = []

    def rows(work, cells, *stages):
        asked.extend(cell.params.seed for cell in cells)
        return ((place, {}) for place in range(len(cells)))

    def find(work, cell: Cell, stages):
        raise Refused(cell.method)

    monkeypatch.setattr(further, "rows_of", rows)
    monkeypatch.setattr(further, "_find", find)
    work = Work("evaluate", params, folder, "cpu", Run("evaluate", None))
    with pytest.raises(Refused, match="search 2 of 4, seed 1"):
        further.other_finds(work, None)
    assert asked == [1, 2, 3]


def test_as_many_are_handed_out_as_there_are_workers():
    taken = []

    def jobs():
        for number in range(5):
            taken.append(number)
            yield Job(number, 0, {}, None, {})

    runs = Inline(lambda job: {"number": job.number})
    runs.workers = 2
    found = side_by_side(runs, jobs())
    assert next(found)[1].metrics == {"number": 0}
    assert taken == [0, 1, 2]
    assert [job.number for job, _ in found] == [1, 2, 3, 4]


def test_one_that_cannot_be_done_is_named(folder, monkeypatch):
    here(monkeypatch)
    monkeypatch.setattr(retrain, "main", lambda *given: (_ for _ in ()).throw(RuntimeError("no such kernel")))
    with pytest.raises(Refused, match=r"retrain \(seed 0\): RuntimeError: no such kernel; the same command goes on"):
        retrain.every(tiny(**TWO), folder)


def test_a_machine_without_the_folder_says_so(tmp_path):
    with pytest.raises(Refused, match=r"no folder .*/elsewhere where this worker runs"):
        retrain.worker(str(tmp_path / "elsewhere"), tiny().model_dump(mode="json"), "cpu")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"runtime__workers": 2}, "executor inline has none; set it to processes or ray, or runtime.workers to 1"),
        ({**TWO, "runtime__processes": 2}, "set runtime.processes to 1, or runtime.workers to 1"),
        ({**TWO, "runtime__device": "cuda:1"}, "runtime.device names cuda:1; set it to cuda, or runtime.workers to 1"),
        ({"runtime__workers": 0}, "runtime.workers: input should be greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(changes, sentence):
    with pytest.raises(Refused, match=sentence):
        tiny(**changes)


def test_plans_count_whole_rounds_of_workers():
    assert [share(jobs, 2) * jobs for jobs in (0, 1, 2, 3, 4)] == [0, 1, 1, 2, 2]
    assert share(5, 1) == 1
