"""`boxwise cache`: the folder and the size of the cache, and its deletion."""

from typing import Annotated

import typer

from boxwise_cli.exits import reported
from boxwise_cli.printing import print_json
from boxwise_runtime.cache import CacheError, cache_location, cache_size, clear


def cache(
    clear_it: Annotated[
        bool, typer.Option("--clear", help="Delete the cache, after a confirmation.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a confirmation.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON and nothing else; --clear then needs --yes.")
    ] = False,
) -> None:
    """Show where downloads are kept and how much they take, or delete them.

    Everything in the cache can be fetched or made again. BOXWISE_CACHE moves it.
    """
    folder = cache_location()
    size = cache_size(folder)
    freed: int | None = None
    if clear_it:
        if as_json and not yes:
            raise typer.BadParameter("--json asks no questions: add --yes", param_hint="--clear")
        if not as_json:
            typer.echo(f"{folder}: {megabytes(size)}")
        if not yes and not typer.confirm("Delete it?"):
            return
        with reported(CacheError):
            freed = clear(folder)
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "exists": folder.exists(),
                "bytes": cache_size(folder),
                "freed_bytes": freed,
            }
        )
    elif freed is not None:
        typer.echo(f"deleted {megabytes(freed)}")
    else:
        typer.echo(f"{folder}: {megabytes(size) if folder.exists() else 'nothing yet'}")


def megabytes(count: int) -> str:
    """Return a number of bytes in megabytes: 12,345,678 is "12.3 MB"."""
    return f"{count / 1e6:,.1f} MB"
