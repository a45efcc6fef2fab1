"""What commands are made of: groups of methods, options that exclude each other, and reports."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import typer
from rich.console import RenderableType
from typer.core import TyperGroup

from devices import UnknownName

OK, MISSED, UNDECIDED = 0, 1, 4
"""What a verb that was carried out ends with: done; target missed, or check failed; a percentile
that its runs have not decided. 2, 3 and 130 are of the command line (`latkit`)."""

# Click's, or of the copy of click that newer releases of typer bring along.
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a command has to say; the command line prints it.

    Attributes:
        figures: For machines, plain data.
        view: Makes what people see.
        as_json: Which of both is asked for.
        status: Exit status, `OK`, `MISSED` or `UNDECIDED`.
    """

    figures: Any
    view: Callable[[], RenderableType]
    as_json: bool
    status: int = OK


class Methods(TyperGroup):
    """A verb with a command for each method, that names the nearest of a misspelt one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse options that stand before the method: they are the method's own."""
        if args and args[0] != "--help" and args[0].startswith("-"):
            said = f"Name the method before its options: {ctx.command_path} METHOD {args[0]}"
            raise UsageError(said, ctx=ctx)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command of a method.

        Raises:
            UnknownName: There is no such method.
        """
        if args[0] not in self.commands:
            kind = "training method" if self.name == "train" else f"{self.name} method"
            raise UnknownName(kind, args[0], self.commands)
        return super().resolve_command(ctx, args)


def typed(context: typer.Context) -> set[str]:
    """Return the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def one_of(context: typer.Context, *names: str, otherwise: str) -> str:
    """Return which of some options is given; refuse several, or none."""
    given = typed(context).intersection(names)
    if len(given) != 1:
        raise UsageError(otherwise, ctx=context)
    return given.pop()


def refuse(context: typer.Context, *names: str, beside: str) -> None:
    """Refuse options that another one leaves no room for."""
    for name in sorted(typed(context).intersection(names)):
        raise UsageError(f"--{name.replace('_', '-')} does not go with {beside}", ctx=context)


def usage_line(error: typer.BadParameter) -> str:
    """Say what is wrong, what the option in question means, and whose help has more."""
    said = error.format_message().rstrip(".")
    meaning = getattr(error.param, "help", None) if hasattr(error, "param") else None
    verb = error.ctx.command_path if error.ctx else "latkit"
    return ". ".join(filter(None, (said, meaning and meaning.rstrip("."), f"See: {verb} --help")))
