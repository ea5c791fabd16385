"""Secrets in addresses, in whatever form: never shown, and refused where parsers would disagree on them."""

import contextlib
import subprocess
import sys

import pytest

from winnow.core.errors import Refused
from winnow.system import addresses
from winnow.system.addresses import public, read_address, redact

READABLE = [  # address, as shown
    ("http://me:hunter2@host:5000/x", "http://host:5000/x"),
    ("https://me:hun%40ter2@host", "https://host"),
    ("https://hunter2token@host/mlflow", "https://host/mlflow"),
    ("https://x-access-token:ghp_hunter2@github.com/a/b.git", "https://github.com/a/b.git"),
    ("postgresql+psycopg://me:hunter2@127.0.0.1:5432/db", "postgresql+psycopg://127.0.0.1:5432/db"),
    ("postgresql://me@host/db?password=hunter2&sslmode=require", "postgresql://host/db?…"),
    ("postgresql://host/db?user=me&password=hun#ter2", "postgresql://host/db?…"),
    ("postgresql:///db?password=hunter2&host=/run", "postgresql:///db?…"),
    ("http://host/mlflow?token=hunter2", "http://host/mlflow?…"),
    ("http://host/mlflow?hunter2", "http://host/mlflow?…"),
    ("https://host/x#access_token=hunter2", "https://host/x#…"),
    ("http://me:hunter2@[::1]:5000/x", "http://[::1]:5000/x"),
    ("s3://key:hunter2@bucket/path", "s3://bucket/path"),
    ("uc:http://me:hunter2@host", "uc:http://host"),
    ("databricks://profile", "databricks://profile"),
    ("databricks://scope:prefix", "databricks://scope:prefix"),
    ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ("http://127.0.0.1:5000/#/experiments/1", "http://127.0.0.1:5000/#/experiments/1"),
]
RAW = [  # passwords whose characters were not encoded
    "postgresql://me:hun@ter2@127.0.0.1:1/db",
    "http://me:hun/ter2@host",
    "postgresql://me:hun#ter2@127.0.0.1/db",
    "postgresql://me:hun[ter2@127.0.0.1/db",
    "postgresql://me:hun]ter2@127.0.0.1/db",
    "postgresql://me:hun?ter2@127.0.0.1/db",
    "http://me:hun\\ter2@host",
    "http://me:hun ter2@host",
    "http://hun/ter2@host",
    "http://hun#ter2@host:80/x",
    "https://me:hun:@ter2@host",
    "http://me:123/hunter2@host",
    "http://me:12/3hunter2@host",
    "postgresql://host:5432/db?password=hun@ter2",
]


def free_of_secrets(text):
    return not any(part in text for part in ("hun", "ter2", "ghp_"))


@pytest.mark.parametrize(("address", "shown"), READABLE)
def test_an_address_is_shown_without_its_secrets(address, shown):
    assert public(address) == shown == read_address(f" {address}\n", "tracking.uri").shown
    assert free_of_secrets(shown)


@pytest.mark.parametrize("address", RAW)
def test_raw_characters_are_refused_in_a_sentence_that_shows_none_of_it(address):
    with pytest.raises(Refused, match=r"tracking\.uri is \w+://….*@ is %40") as refusal:
        read_address(address, "tracking.uri")
    assert free_of_secrets(str(refusal.value))


@pytest.mark.parametrize("address", [address for address, _ in READABLE if "hun" in address] + RAW)
@pytest.mark.parametrize("around", ["{}", "see {}: refused", '{{"uri": "{}"}}', "-uri: '{}' # mine", "[page]({})."])
def test_no_text_tells_them(address, around):
    """As the process that was given the address sees it, which knows its secrets by then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "_known", set())
        with contextlib.suppress(Refused):
            read_address(address, "x")
        assert free_of_secrets(redact(around.format(address)))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("two: http://a:b@c and http://d:e@f", "two: http://c and http://f"),
        ('uri: "http://me:secret@host/x",', 'uri: "http://host/x",'),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("could not reach http://host:5000: refused", "could not reach http://host:5000: refused"),
        ('url = f"http://127.0.0.1:{port}/{path}?x=1"', 'url = f"http://127.0.0.1:{port}/{path}?x=1"'),
        ("dsn host=h password=abc123 user=me", "dsn host=h password=… user=me"),
        ("see arXiv:1806.09055, https://arxiv.org/abs/1806.09055v2#S2", None),
    ],
)
def test_other_texts_stay_as_they_are(text, clean):
    assert redact(text) == (text if clean is None else clean)


def test_secrets_of_the_process_are_taken_out_of_any_text(monkeypatch):
    monkeypatch.setattr(addresses, "_known", set())
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "dapi12345\n")
    monkeypatch.setenv("WANDB_API_KEY", "wandb-key-1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy%40word@proxy:3128")
    read_address("postgresql://me:hun%2Fter2@h/db", "x")
    told = "dapi12345 wandb-key-1 false proxy@word proxy%40word hun/ter2 hun%2Fter2 reproxy@words"
    assert redact(told) == "… … false … … … … reproxy@words"


def test_an_exception_that_quotes_an_address_is_shown_without_its_secrets():
    code = (
        "import sys; from winnow.system.addresses import redacted_traceback; sys.excepthook = redacted_traceback;"
        "raise ValueError('no port in http://me:hunter2@host')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: no port in http://host" in done.stderr
    assert "hunter2@" not in done.stderr
