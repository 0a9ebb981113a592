"""Whether the chat templates of a run tell its agents of the tools that they call natively."""

from __future__ import annotations

from collections.abc import Mapping

from hornbeam.assembly.plan import Plan
from hornbeam.chat import Chat, system
from hornbeam.chat.ready_templates import READY
from hornbeam.errors import RecipeError
from hornbeam.programs import native_tools
from hornbeam.recipe.recipe import Recipe


def check_tool_templates(recipe: Recipe, plan: Plan, chats: Mapping[str, Chat]) -> None:
    """`RecipeError` where a model would not see the tools that its agent is to call natively."""
    section = recipe.program
    told = [system(str(section.rest().get("system", "")))]
    for agent, schemas in native_tools(section.name, section.rest(), plan.tools).items():
        if wrong := chats[agent].tool_problem(schemas, told):
            ready = ", ".join(f'"{name}"' for name in READY)
            raise RecipeError(
                f"agent {agent!r}: {wrong}; model.chat_template gives it another ({ready}, or a"
                " .jinja file)"
            )
