"""The notebook docs/tour.ipynb runs in a kernel of its own, and shows what it says."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"
AGAIN = "before = list(run.metrics)", "assert run.metrics == before and len(rewards) == 20"

RUN = """
import sys
import nbclient, nbformat
from jupyter_client.manager import AsyncKernelManager

path, sockets = sys.argv[1:]
tour = nbformat.read(path, 4)
kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=sockets)
nbclient.NotebookClient(tour, km=kernel, timeout=600).execute()
nbformat.write(tour, path)
"""


def test_the_notebook_is_short_and_has_no_outputs():
    tour = nbformat.read(TOUR, 4)
    nbformat.validate(tour)
    code = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert len(tour.cells) <= 12 and len(code) >= 5
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
    assert max(len(line) for cell in code for line in cell.source.splitlines()) <= 100


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Where the notebook ran and its cells, the one that trains once more at the end."""
    place, own = tmp_path_factory.mktemp("tour"), tmp_path_factory.mktemp("j")
    tour = nbformat.read(TOUR, 4)
    (train,) = (cell for cell in tour.cells if "hb.train(" in cell.source and "outputs" in cell)
    before, after = map(nbformat.v4.new_code_cell, AGAIN)
    tour.cells += [before, nbformat.v4.new_code_cell(train.source), after]
    nbformat.write(tour, own / "tour.ipynb")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    there = {**os.environ, **dict.fromkeys(names, str(own))}
    command = [sys.executable, "-c", RUN, own / "tour.ipynb", own / "socket"]
    done = subprocess.run(command, cwd=place, env=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    tour = nbformat.read(own / "tour.ipynb", 4)
    return place, [cell for cell in tour.cells if cell.cell_type == "code"]


def data(cell):
    """What a cell gives at its end, by kind."""
    (result,) = (out for out in cell.outputs if out.output_type == "execute_result")
    return result.data


@pytest.mark.timeout(900)
def test_trees_show_themselves_and_credit_colours_them(shown):
    _, (_, grow, credit, _, _, last, *_) = shown
    pictures = [str(data(cell).get("image/svg+xml", "")) for cell in (grow, credit, last)]
    assert all(picture.startswith("<svg") for picture in pictures)
    assert "6 leaves" in data(grow)["text/plain"] and "advantage" in data(credit)["text/plain"]
    assert pictures[0] != pictures[1]


@pytest.mark.timeout(900)
def test_nothing_warns(shown):
    _, cells = shown
    texts = [o.text for c in cells for o in c.outputs if o.get("name") == "stderr"]
    foreign = "IProgress not found"  # by tqdm, where ipywidgets are not installed
    assert not [text for text in texts if "Warning" in text and foreign not in text]


@pytest.mark.timeout(900)
def test_the_model_learns_and_a_second_call_goes_on_where_it_was(shown):
    place, (_, _, _, train, table, _, _, again, _) = shown
    assert "final 20" in data(train)["text/html"] and data(again) == data(train)
    assert (place / "runs/tour/report.html").is_file()
    lines = [line for out in table.outputs for line in out.text.splitlines()]
    means = [float(line.rpartition(" ")[2]) for line in lines]
    assert len(means) == 4 and means[-1] > 1.5 * means[0] > 0
    assert os.listdir(place) == ["runs"]
