"""What a command takes out of the tracking store: a real one, of SQLite, with runs as the shipper leaves them."""

import json

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag

from tests.stages.tiny import ROOT
from winnow.config.reading import read_params
from winnow.core.errors import Refused
from winnow.tools.compare import _run_named
from winnow.tracking.fetch import fetched
from winnow.tracking.local import create_local_store
from winnow.tracking.store import local_uri, state_folder

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # of SQLAlchemy 2.1, in MLflow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    state = state_folder(root)
    state.mkdir()
    create_local_store(state)
    client = MlflowClient(local_uri(state))
    experiment = client.create_experiment("winnow", artifact_location=(state / "mlartifacts").as_uri())
    for name, stages in {
        "epochs 3": ("search", "select", "evaluate"),
        "stopped": ("search",),
        "twice": ("evaluate",),
        "twice ": (),
    }.items():
        parent = client.create_run(experiment, 1000, {"winnow.stage": "pipeline"}, name.strip()).info.run_id
        for number, stage in enumerate(stages):
            tags = {"winnow.stage": stage, "mlflow.parentRunId": parent}
            run = client.create_run(experiment, 1000 * (number + 1), tags, stage).info.run_id
            if stage == "evaluate":
                client.log_artifact(run, str(ROOT / "reports/evaluate.json"))
                client.log_text(run, json.dumps({"task": "image_classification", "search.epochs": "3"}), "params.json")
                data = DatasetInput(Dataset("test", "abc", "local", "{}"), [InputTag("winnow.digest", "abcdef")])
                client.log_inputs(run, [data])
            if stage == "select":
                client.log_text(run, "<svg></svg>", "drawings/architecture.svg")
            client.set_terminated(run, "FINISHED", 1000 * (number + 1) + 2500)
    return root


@pytest.fixture
def tracking(monkeypatch, project):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return read_params(project / "params.yaml", methods=False).tracking


def test_a_pipeline_run_by_its_name_is_a_run_to_compare(project, tracking):
    run = _run_named("epochs 3", project)
    assert run.result["architecture"] == json.loads((ROOT / "reports/evaluate.json").read_text())["architecture"]
    assert run.params["search.epochs"] == "3"
    assert run.test == {"rows": "abcdef"}
    assert {stage: took.seconds for stage, took in run.took.items()} == {"search": 2.5, "select": 2.5}
    assert run.drawing == "<svg></svg>"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("stopped", "stopped is not finished: its run has no stage evaluate that ended well"),
        ("twice", "2 runs are called 'twice': name one by its id, of "),
        ("else", "no folder and no pipeline run 'else'; the last ones are .*epochs 3"),
    ],
)
def test_what_is_not_there_or_not_finished_is_a_sentence(project, tracking, tmp_path, name, told):
    with pytest.raises(Refused, match=told):
        fetched(project, tracking, name, tmp_path)
