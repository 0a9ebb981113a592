"""What a command said on standard error."""

from hornbeam.recipe.own_names import CODE


def without_code(said):
    """Without the line that names the code of a recipe, which stands before all others."""
    lines = said.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(CODE))
