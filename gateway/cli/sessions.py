"""``gateway sessions list|show|end``: what may be written on the command line. The work is in ``session_commands``, loaded when it runs.

Exit codes: 0 done; 1 the store gave no answer, so not done or not wholly; 2 a command line or configuration to mend; 3 no such session.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

sessions = typer.Typer(
    name="sessions",
    help="Look at the sessions in the store, and end them. Takes the configuration file and the secrets of its session section.",
    no_args_is_help=True,
)

Config = Annotated[Path, typer.Option("--config", "-c", help="The YAML file of the gateway.", metavar="FILE", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Sub = Annotated[str | None, typer.Option(help="The person with this sub, exactly.", metavar="SUB", show_default=False)]
Sid = Annotated[str | None, typer.Option(help="Of this session at the provider.", metavar="SID", show_default=False)]
Provider = Annotated[str | None, typer.Option(help="By this provider, by its id.", metavar="ID", show_default=False)]
Issuer = Annotated[
    str | None, typer.Option(help="The issuer of sub or sid, if it is not the configured one.", metavar="URL", show_default=False)
]


@sessions.command("list")
def list_sessions(  # noqa: PLR0913, PLR0917 - an option a parameter
    config: Config,
    user: Annotated[
        str | None, typer.Option(help="A sub, or a part of a name or an e-mail address.", metavar="TEXT", show_default=False)
    ] = None,
    sub: Sub = None,
    sid: Sid = None,
    issuer: Issuer = None,
    provider: Provider = None,
    address: Annotated[
        str | None, typer.Option(help="Signed in from this address or network.", metavar="IP[/BITS]", show_default=False)
    ] = None,
    min_age: Annotated[str | None, typer.Option(help="Signed in this long ago or longer: 12h.", metavar="TIME", show_default=False)] = None,
    max_age: Annotated[str | None, typer.Option(help="Signed in since: 30m.", metavar="TIME", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="How many to show at most.", min=1, max=100_000)] = 1000,
    as_json: AsJson = False,
) -> None:
    """Who is signed in: all, or those who match every option."""
    from gateway.cli.session_commands import list_ as run  # noqa: PLC0415 - loaded when it runs

    asked = {"user": user, "sub": sub, "sid": sid, "issuer": issuer, "provider": provider}
    asked |= {"address": address, "min_age": min_age, "max_age": max_age}
    raise typer.Exit(run(config, _given(asked), limit=limit, as_json=as_json))


@sessions.command("show")
def show_session(
    config: Config,
    session: Annotated[str, typer.Argument(help="Its id, as listed.", metavar="ID")],
    as_json: AsJson = False,
) -> None:
    """All that is told of one session."""
    from gateway.cli.session_commands import show as run  # noqa: PLC0415 - loaded when it runs

    raise typer.Exit(run(config, session, as_json=as_json))


@sessions.command("end")
def end_sessions(  # noqa: PLR0913, PLR0917 - an option a parameter
    config: Config,
    session: Annotated[str | None, typer.Argument(help="The id of the one to end.", metavar="[ID]", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(help="All of the person with this sub, exactly.", metavar="SUB", show_default=False)] = None,
    sid: Sid = None,
    issuer: Issuer = None,
    provider: Provider = None,
    every: Annotated[bool, typer.Option("--all", help="Every session, or every one by --provider. Takes --yes as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    as_json: AsJson = False,
) -> None:
    """End one session, a person's, those of a session at the provider, or all: at once, on every replica."""
    from gateway.cli.session_commands import end as run  # noqa: PLC0415 - loaded when it runs

    asked = _given({"sub": user, "sid": sid, "issuer": issuer, "provider": provider, "confirm": "all" if every else None})
    raise typer.Exit(run(config, session, asked, yes=yes, as_json=as_json))


def _given(asked: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in asked.items() if value is not None}
