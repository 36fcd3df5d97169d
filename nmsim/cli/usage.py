"""The ``--help`` of a command: its options in groups, then examples."""

from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand

from nmsim.cli.examples import EXAMPLES
from nmsim.cli.panels import ORDER

__all__ = ["Grouped"]

_NAMES = 26
"""Characters of a name beside which its meaning stands; of a longer one it stands below."""

Records = list[tuple[str, str]]


class Grouped(TyperCommand):
    """A command whose help has its arguments, its options by group, and its examples."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, meanings of all groups below one another."""
        groups = {group: rows for group, rows in self._groups(ctx) if rows}
        wide = max(len(name) for rows in groups.values() for name, _ in rows if len(name) <= _NAMES)
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl(
                    [(name.ljust(wide), meaning) for name, meaning in rows], col_max=wide
                )

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples as they are typed."""
        lines = EXAMPLES.get(ctx.command_path.partition(" ")[2], ())
        if lines:
            with formatter.section("Examples"):
                for line in lines:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")

    def _groups(self, ctx: Any) -> Iterator[tuple[str, Records]]:
        params = self.get_params(ctx)
        arguments = [one for one in params if one.param_type_name == "argument"]
        options: list[Any] = [one for one in params if one.param_type_name == "option"]
        yield "Arguments", _records(arguments, ctx)
        for panel in (*ORDER, None):
            own = [one for one in options if getattr(one, "rich_help_panel", None) == panel]
            yield panel or "Options", _records(own, ctx)


def _records(params: list[Any], ctx: Any) -> Records:
    return [record for one in params if (record := one.get_help_record(ctx)) is not None]
