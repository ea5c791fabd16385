"""Strategy training_free in the stages: nothing is trained, selections score or prune untrained networks."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from tests.stages.tiny import tiny
from winnow.core.errors import Refused
from winnow.look.charts import evaluated
from winnow.pipelines import search
from winnow.pipelines import select as selecting
from winnow.run import files


def untrained(**changes):
    sizes = {"select__random__samples": 6, "search__training_free__batch": 8}
    return tiny(**{"search__strategy": "training_free", **sizes, **changes})


@pytest.mark.parametrize("space", ["nas_bench_201", "darts"])
def test_selections_find_an_architecture_within_the_limit(folder, space):
    sizes = {
        "space__name": space,
        "select__random__samples": 6 if space == "nas_bench_201" else 2,
        "space__darts__channels": 4,
        "space__darts__layers": 3,
    }
    if space == "nas_bench_201":
        sizes["select__max_params"] = 9000
    proxies = ["naswot"] if space == "darts" else ["naswot", "synflow"]
    methods = ["random", "evolution", "prune"] if space == "nas_bench_201" else ["random"]
    params = untrained(select__methods=methods, search__training_free__proxies=proxies, **sizes)
    search.main(params, folder)
    selecting.main(params, folder)
    found = json.loads((folder / files.SELECTIONS).read_text())
    assert found["chosen"] == "random"
    for row in found["methods"].values():
        assert row["inherited_accuracy"] is None, "nothing was trained"
        assert row["params"] <= (params.select.max_params or row["params"])
    rows = pq.read_table(folder / files.EVIDENCE).to_pylist()
    for method in [name for name in methods if name != "prune"]:
        scored = [row for row in rows if row["method"] == method]
        assert len({row["option"] for row in scored}) == len(scored), "equal architectures are scored once"
        assert max(row["score"] for row in scored) == next(row["score"] for row in scored if row["kept"])
    assert evaluated([row for row in rows if row["method"] == "random"]).axes[0].get_ylabel().startswith("score")


def test_the_same_parameters_find_the_same(folder, tmp_path):
    params, again = untrained(select__methods=["evolution"]), tmp_path / "again"
    shutil.copytree(folder, again)
    for each in (folder, again):
        search.main(params, each)
        selecting.main(params, each)
    for name in (files.ARCHITECTURE, files.EVIDENCE, files.SELECTIONS):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_mistakes_are_one_sentence(folder):
    with pytest.raises(Refused, match="no proxy 'naswott'; did you mean 'naswot'"):
        search.main(untrained(select__methods=["random"], search__training_free__proxies=["naswott"]), folder)
    with pytest.raises(Refused, match="'magnitude' compares trained logits, which strategy 'training_free' does not"):
        untrained(select__methods=["magnitude"])
