"""Keys of the environment are in no file, page or line of a run, whatever is asked with them."""

from importlib.util import find_spec

import pytest

from hornbeam.assembly.judges import judge_engine
from hornbeam.models import tiny_model
from little_server import LittleServer, Manners

MARK = "sk-marked-0123456789"
NAMES = ("OPENAI_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "OTEL_EXPORTER_OTLP_HEADERS", "PGPASSWORD")
RECIPE = """
run = {steps = 1, tasks = 1}
agents = {seeker = {max_tokens = 3}}
model = {name = "model"}
program = {name = "lookup"}
reward = {rule = "exact"}
tools = {lookup = {}}
grow = {strategy = "independent", n = 2}
tasks.train = [{source = "lookup", count = 2}]
tasks.eval = [{source = "lookup", split = "test", count = 2}]
search.methods = [{name = "few", n = 2}]
sinks = {SINKS}
"""


@pytest.fixture
def told(tmp_path, hornbeam, monkeypatch):
    """Runs commands with marked keys; then none stands in what was said or written."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.setenv(name, MARK if "HEADERS" not in name else f"authorization={MARK}")
    said = []

    def run(*words):
        code, err, out = hornbeam(*words)
        said.append((words, err + out))
        return code, err

    yield run
    for words, text in said:
        assert MARK not in text, words
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if MARK.encode() in path.read_bytes()]


def recipe(folder, sinks=""):
    if not (folder / "model").exists():
        tiny_model.make(folder / "model", 0, width=16, layers=1)
    (folder / "r.toml").write_text(RECIPE.replace("SINKS", sinks), "utf-8")


def test_a_run_with_sinks_and_its_pages(told, tmp_path):
    needs = {"tensorboard": "tensorboard", "otel": "opentelemetry.sdk"}
    sinks = [f"{name} = {{}}" for name, extra in needs.items() if find_spec(extra.split(".")[0])]
    if find_spec("wandb"):
        sinks.append('wandb = {mode = "offline"}')
    recipe(tmp_path, ", ".join(sinks))
    assert told("train", "r.toml", "--out", "run")[0] == 0
    for command in ("view run", "export run", "view run --tree train/0/0", "eval r.toml --json"):
        assert told(*command.split())[0] == 0, command


@pytest.mark.parametrize("kind", ["chat", "http"])
def test_servers_that_take_a_key_and_servers_that_tell_it(told, tmp_path, kind):
    recipe(tmp_path)
    echo = {"error": {"message": f"Incorrect API key provided: {MARK}"}, "headers": [MARK]}
    with LittleServer(judge_engine(tmp_path / "model"), manners=Manners(key=MARK)) as server:
        ask = ["--set", f"engine.kind='{kind}'", "--set", f"engine.url='{server.url}'"]
        ask += ["--set", "engine.key_env='OPENAI_API_KEY'", "--set", "engine.model='tiny'"]
        for command in ("eval", "search", "label"):
            out = () if command == "eval" else ("--out", command)
            told(command, "r.toml", *ask, *out)
        told("doctor", "--server", server.url, "--key-env", "OPENAI_API_KEY")
        for status in (401, 400, 500):
            server.failures = [(status, {"WWW-Authenticate": MARK, "X-Key": MARK}, echo)] * 40
            code, err = told("eval", "r.toml", *ask, "--set", "engine.patience=0")
            assert code == 2 and err


def test_passwords_of_databases(told, tmp_path):
    recipe(tmp_path)
    url = f"postgresql://someone:{MARK}@127.0.0.1:1/none"
    for words in (
        ("view", "run", "--store", url),
        ("export", "run", "--store", url),
        ("train", "r.toml", "--policy", "seeker", "--store", url),
    ):
        code, err = told(*words)
        assert code == 2 and err, words
