"""``tomas replay``: a stored plan made again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tomas.cli.render import console, new_table

if TYPE_CHECKING:
    from tomas.planner.replay import Difference

__all__ = ["replay"]


def replay(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN", help="Id of a stored plan.")],
) -> None:
    """Make a stored plan again from the history it cites, and say what differs.

    Nothing is reserved. Ends with status 1 where anything came out otherwise.
    """
    from tomas.config import get_settings
    from tomas.planner.replay import replay as make_again
    from tomas.store import Store
    from tomas.tools.registry import Registry

    with Store.from_settings() as store:
        store.check_schema()
        plan = store.plan(plan_id)
        made = make_again(plan, store=store, registry=Registry(store.tools()), settings=get_settings())
    if made.inputs:
        _print("Cited by the plan, and not as it was", made.inputs)
    if made.same:
        typer.echo(f"Plan {plan_id} came out the same, bit for bit.")
        return
    _print("Came out otherwise", made.results)
    if plan.scheduling is not None and plan.scheduling.interrupted:
        typer.echo("A limit in processor time had ended the search of this plan; another run may end elsewhere.")
    raise typer.Exit(1)


def _print(title: str, differences: Sequence[Difference]) -> None:
    table = new_table(title, "what", "stored", "now", whole=("what",))
    for item in differences:
        table.add_row(item.where, item.stored, item.now)
    console.print(table)
