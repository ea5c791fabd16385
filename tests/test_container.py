"""What can be said of the image and of compose.yaml without an engine that builds and starts them."""

import ast
import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_floors import REPOSITORY, imports, sources

TOOLS = {"pytest", "hypothesis", "mypy", "ruff", "playwright"}


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def stages():
    """The text of each stage of the Dockerfile by its name; the last, which has none, as ""."""
    texts = (REPOSITORY / "Dockerfile").read_text().split("\nFROM ")[1:]
    return {text.splitlines()[0].partition(" AS ")[2]: text for text in texts}


def test_only_this_machine_reaches_the_servers_of_compose(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not services["database"].get("ports")


def test_a_service_starts_when_those_it_needs_answer(services):
    needs = [(name, *each) for name, one in services.items() for each in one.get("depends_on", {}).items()]
    assert needs
    for name, needed, how in needs:
        assert how == {"condition": "service_healthy"}, f"{name} does not wait for {needed}"
        assert services[needed]["healthcheck"]["test"]


def test_what_compose_mounts_is_there(services):
    mounted = [each.split(":")[0] for one in services.values() for each in one.get("volumes", ())]
    files = [each for each in mounted if each.startswith(".")]
    assert files
    assert [each for each in files if not (REPOSITORY / each).exists()] == []


def test_the_password_of_compose_is_not_committed():
    assert "/.env" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_no_step_of_the_workflow_passes_because_the_last_of_a_pipe_does():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert any("| tee" in run for run in runs)
    assert workflow["defaults"]["run"]["shell"] == "bash", "GitHub gives this one pipefail, and its default none"


def test_the_image_runs_as_nobody_in_particular_and_holds_only_what_is_listed(stages):
    assert list(stages) == ["build", "runtime", "test", ""]
    assert stages[""].strip() == "runtime"
    assert re.findall(r"(?m)^USER (\S+)", stages["runtime"]) == ["winnow"]
    assert not re.search(r"(?i)secret|password|token|apt-get", stages["runtime"])
    listed = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert listed[0] == "*"
    assert not {"!.git", "!.env", "!data", "!artifacts", "!.winnow"} & set(listed)


def test_a_number_without_a_name_has_what_is_asked_of_a_user(stages):
    """DVC and torch look the user up, by these variables first; its home takes caches."""
    told = dict(re.findall(r"(?m)\b(USER|LOGNAME|HOME)=(\S+)", stages["runtime"]))
    assert told == {"USER": "winnow", "LOGNAME": "winnow", "HOME": "/tmp"}


def test_what_is_stopped_in_a_container_hears_of_it(services, stages):
    assert all(one.get("init") for name, one in services.items() if name != "database")  # PostgreSQL has handlers
    assert 'ENTRYPOINT ["winnow"]' in stages["runtime"], "winnow itself is process 1 and has handlers, no shell is"


def test_the_lock_binds_what_is_installed_but_brings_no_tools_of_developers(stages):
    assert "--constraint /build/requirements.lock --constraint /build/requirements-dev.lock" in stages["build"]
    assert "--requirement /build/requirements.lock" not in stages["build"]
    assert "--requirement requirements-dev.lock" in stages["test"]


def brought_by(names: Iterable[str]) -> set[str]:
    """The distributions that come with `names`, these included, as far as they are installed here."""
    found: set[str] = set()
    left = [canonicalize_name(name) for name in names]
    while left:
        name = left.pop()
        if name not in found and any(importlib.metadata.distributions(name=name)):
            found.add(name)
            wanted = map(Requirement, importlib.metadata.requires(name) or ())
            plain = (each for each in wanted if not each.marker or each.marker.evaluate({"extra": ""}))
            left += [canonicalize_name(each.name) for each in plain]
    return found


def test_what_winnow_imports_is_declared():
    """The image has what pyproject.toml declares, and what that brings."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    there = brought_by(Requirement(each).name for each in sum(extras.values(), project["dependencies"]))
    assert not TOOLS & there
    owners = importlib.metadata.packages_distributions()
    imported = {name.partition(".")[0] for module, path in sources() for name in names_in(module, path)}
    assert {"torch", "sqlalchemy"} <= imported
    strange = [name for name in imported & owners.keys() if not there & set(map(canonicalize_name, owners[name]))]
    assert set(strange) <= {"winnow"}


def test_the_first_lock_is_what_running_needs_and_the_second_what_tests_add():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    running = brought_by(Requirement(each).name for each in project["dependencies"])
    locks = [
        {
            canonicalize_name(line.partition("==")[0])
            for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
        }
        for name in ("requirements.lock", "requirements-dev.lock")
    ]
    of_cuda = {name for name in running if re.match(r"nvidia-(?!ml-py)|cuda-|triton$", name)}  # locked is the CPU build
    assert running - of_cuda <= locks[0]
    assert not running & locks[1]
    assert locks[1] >= TOOLS
    assert not locks[0] & locks[1]


def names_in(module: str, path: Path) -> Iterable[str]:
    tree = ast.parse(path.read_text())
    return (name for _, name in imports(tree, module, path.name == "__init__.py"))
