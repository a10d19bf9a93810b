"""The command line: ``gateway serve``, ``check``, ``keys``, ``sessions``, ``schema``, ``demo``, a file each, loaded when its command runs.

Answers a command that is slow or broken because of another one: nothing but typer is loaded here, and the demo's parts never with the rest.
Exit codes: 0 is well, 2 is a configuration (or a command line) to mend, and a mistake of an operator is never a traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.sessions import sessions

main = typer.Typer(
    name="gateway",
    help="An authentication gateway: signs people in with OpenID Connect in front of applications that know nothing of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

main.add_typer(sessions)

keys = typer.Typer(name="keys", help="Session keys.", no_args_is_help=True)
main.add_typer(keys)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The YAML file of the gateway.", metavar="FILE", show_default=False)]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gateway {__version__}")
        raise typer.Exit


@main.callback()
def _options(
    _version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")] = False,
) -> None:
    pass


@main.command()
def serve(config: ConfigOption) -> None:
    """Run the gateway."""
    from gateway.cli.serve import run  # noqa: PLC0415 - loaded when it runs

    raise typer.Exit(run(config))


@main.command()
def check(
    config: ConfigOption,
    live: Annotated[bool, typer.Option("--live", help="Look at the session store and the provider too, as they are now.")] = False,
) -> None:
    """Check a configuration: 0 when the gateway would start with it, else 2 and every fault."""
    from gateway.cli.check import run  # noqa: PLC0415 - loaded when it runs

    raise typer.Exit(run(config, live=live))


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from gateway.cli.schema import run  # noqa: PLC0415 - loaded when it runs

    raise typer.Exit(run())


@keys.command("new")
def keys_new(
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Write it there, for its owner alone; never over a file.", metavar="PATH", show_default=False),
    ] = None,
) -> None:
    """Make a session key, and say what to do with it."""
    from gateway.cli.keys import run  # noqa: PLC0415 - loaded when it runs

    raise typer.Exit(run(file))


@main.command()
def demo(
    port: Annotated[int, typer.Option(help="Where the gateway listens; 0 lets the system choose.", min=0, max=65535)] = 8080,
    provider_port: Annotated[int, typer.Option(help="Where the demo's provider listens.", min=0, max=65535)] = 9000,
    admin_port: Annotated[int, typer.Option(help="Where /livez and /readyz answer.", min=0, max=65535)] = 8090,
) -> None:
    """Try it: the gateway, a provider and an app on this machine, nothing else needed."""
    from gateway.cli.demo import run  # noqa: PLC0415 - loaded when it runs

    raise typer.Exit(run(port=port, provider_port=provider_port, admin_port=admin_port))
