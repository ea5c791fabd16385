"""docs/team: what is copied is well formed, names files that are there, and opens nothing but the proxy."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TEAM = ROOT / "docs/team"


def test_only_the_proxy_is_open_and_mlflow_hears_one_host():
    base = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    added = yaml.safe_load((TEAM / "compose.team.yaml").read_text())["services"]
    assert {name: one["ports"] for name, one in added.items() if "ports" in one} == {"proxy": ["443:443"]}
    flags = {flag.partition("=")[0]: flag.partition("=")[2] for flag in added["mlflow"]["command"]}
    assert flags.keys() == {flag.partition("=")[0] for flag in base["mlflow"]["command"]} | {"--cors-allowed-origins"}
    (host,) = re.findall(r"server_name (\S+);", (TEAM / "nginx.conf").read_text())
    assert host in flags["--allowed-hosts"].split(",")
    assert flags["--cors-allowed-origins"] == f"https://{host}"


def test_what_the_proxy_mounts_is_what_its_settings_name():
    proxy = yaml.safe_load((TEAM / "compose.team.yaml").read_text())["services"]["proxy"]
    mounted = [each.split(":")[1] for each in proxy["volumes"]]
    named = re.findall(r"(?m)^\s+(?:ssl_certificate\w*|auth_basic_user_file) (\S+);", (TEAM / "nginx.conf").read_text())
    assert len(named) == 3
    assert all(any(name.startswith(place) for place in mounted) for name in named)


def test_the_workflow_reruns_before_it_judges_and_loses_no_status_in_a_pipe():
    workflow = yaml.safe_load((TEAM / "winnow.yml").read_text())
    assert workflow["defaults"]["run"]["shell"] == "bash"
    for job, judge in (("nightly", "winnow verify"), ("gate", "winnow gate")):
        runs = [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]
        (rerun,) = [i for i, text in enumerate(runs) if "dvc repro --pull" in text]
        (judged,) = [i for i, text in enumerate(runs) if judge in text]
        assert rerun < judged
