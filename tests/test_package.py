"""What is installed: the version, the command, what wheel and source distribution carry."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import hornbeam
from hornbeam.errors import how_to_get

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LINK = re.compile(r"\]\(([^)]+)\)")
BUILD = "from setuptools import build_meta as b; b.build_wheel('dist'); b.build_sdist('dist')"


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
    assert how_to_get("ray") == "in the clone of Hornbeam: pip install -e '.[ray]'"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(names of the wheel, its metadata, names of the source distribution without its folder)."""
    pytest.importorskip("setuptools", minversion="77")
    place = tmp_path_factory.mktemp("clone") / "hornbeam"
    passed = shutil.ignore_patterns(
        ".git", ".venv*", "runs", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info"
    )
    shutil.copytree(ROOT, place, symlinks=True, ignore=passed)
    subprocess.run([sys.executable, "-c", BUILD], cwd=place, check=True, capture_output=True)
    (wheel,), (source,) = (list((place / "dist").glob(kind)) for kind in ("*.whl", "*.tar.gz"))
    with zipfile.ZipFile(wheel) as held:
        names = held.namelist()
        data = held.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    with tarfile.open(source) as held:
        return set(names), data, {name.partition("/")[2] for name in held.getnames()}


def test_the_wheel_has_all_that_runs_and_its_licence(built):
    names, result, _ = built
    code = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*.py")}
    recipes = {f"hornbeam/recipes/{p.name}" for p in (ROOT / "recipes").glob("*.toml")}
    assert code <= names and recipes and recipes <= names and "hornbeam/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {"hornbeam/view/page.html", "hornbeam/view/page.css"} <= names
    head, _, page = result.partition("\n\n")
    assert "License-Expression: Apache-2.0" in head and "License-File: LICENSE" in head
    assert "pip install -c constraints.txt -e ." in page
    assert not LINK.findall(page), "links of the repository lead nowhere from a wheel"


def test_the_source_distribution_has_what_the_readme_links_to(built):
    _, _, names = built
    text = (ROOT / "README.md").read_text("utf-8")
    links = {link.partition("#")[0] for link in LINK.findall(text) if ":" not in link}
    assert len(links) > 10 and links <= names
    assert {"LICENSE", "Makefile", "constraints.txt", "recipes/tiny.toml"} <= names
    assert {"src/hornbeam/recipes/tiny.toml", "src/hornbeam/py.typed"} <= names
