"""How an agent is told its task, and what is kept of what it says."""

import asyncio
import json

import pytest

from grow.worlds import KEY
from hornbeam.engine.scripted import Scripted
from hornbeam.gateway.agent_process import KEPT
from hornbeam.gateway.agent_program import AgentCommand, AgentProgram
from hornbeam.gateway.last_words import MOST
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Independent
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.view.data import ReportData, page_data

QUESTION = "Wie groß ist π?\nIn two lines, with 'quotes' and {braces}."
START = "import json, os, sys\n"


@pytest.fixture
def leaf(tmp_path):
    """The tree of one episode whose agent is this text, and its leaf."""

    def run(text, arguments="", question=QUESTION, **settings):
        (tmp_path / "agent.py").write_text(START + text)

        async def grow():
            command = AgentCommand(command=f"python agent.py {arguments}", **settings)
            program = AgentProgram(command.beside(tmp_path))
            agents = {"solver": Speaker(Scripted("yes"))}
            task = Task("t", question, answer="3.14", data={"digits": 2})
            try:
                fresh = Tree(task.to_json())
                return await Grower(program, agents, Independent(n=1)).grow(KEY, fresh)
            finally:
                await program.aclose()

        tree = asyncio.run(grow())
        (found,) = tree.leaves()
        return tree, tree.nodes[found]

    return run


@pytest.mark.parametrize("start", ["fork", "process"])
def test_the_question_comes_on_standard_input(leaf, start):
    _, node = leaf("print(json.dumps(sys.stdin.read()))", start=start)
    assert (json.loads(node.answer), node.error) == (QUESTION, "")


def test_an_agent_that_reads_no_input_does_not_wait(leaf):
    _, node = leaf("print('done')", question="x" * 1_000_000)
    assert (node.answer, node.error) == ("done", "")


def test_the_task_comes_as_a_file_and_as_a_word(leaf):
    text = "print(json.dumps([json.load(open(sys.argv[1])), *sys.argv[2:]]))"
    _, node = leaf(text, "{task_file} --ask={task} {task}")
    told, *words = json.loads(node.answer)
    assert (told["question"], told["data"]) == (QUESTION, {"digits": 2})
    assert words == [f"--ask={QUESTION}", QUESTION]


def test_the_reference_answer_is_told_where_the_recipe_says_so(leaf):
    text = "import glob\nprint(json.dumps([open(f).read() for f in glob.glob('*')]))"
    for gold in (False, True):
        _, node = leaf(text, gold=gold)
        (task,) = json.loads(node.answer)
        assert json.loads(task)["answer"] == ("3.14" if gold else None)


def test_the_environment_names_its_session_and_task(leaf):
    names = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_BASE_URL", "HORNBEAM_SESSION")
    keys = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HORNBEAM_MODEL", "HORNBEAM_TASK")
    _, node = leaf(f"print(json.dumps([os.environ[n] for n in {names + keys}] + [os.getcwd()]))")
    base, old, anthropic, root, *rest = json.loads(node.answer)
    key, other, model, task, folder = rest
    assert base == old == f"{root}/v1" and anthropic == root and root.endswith(f"/s/{key}")
    assert (other, model, task) == (key, "solver", f"{folder}/task.json")


def test_output_is_kept_to_a_bound_and_its_end_counts(leaf):
    _, node = leaf("print('x' * 10_000_000)\nprint('the end')")
    assert node.answer == "the end"
    _, node = leaf("print('x' * 10_000_000 + 'end')", answer="output")
    assert len(node.answer) < KEPT and node.answer.endswith("xend")


def test_a_failure_says_its_exit_code_and_last_lines_on_the_page_too(leaf):
    text = "sys.stderr.write('y' * 10_000_000 + '\\n')\nprint('lost')\nraise ValueError('no π')"
    tree, node = leaf(text)
    head, _, words = node.error.partition(": the agent ended with exit code 1: ")
    assert head == "ProgramError" and words.endswith("ValueError: no π")
    assert "raise ValueError('no π')" in words and len(words) <= MOST and node.answer is None
    shown = page_data(ReportData("a run", trees={0: [tree]}))
    assert json.dumps(words)[1:-1] in json.dumps(shown)
