"""The `hdiff serve` command."""

from __future__ import annotations

from typing import Annotated

import typer

from hdiff.commands.options import Component, Model, Quiet, say, say_loading
from hdiff.errors import UserError
from hdiff.plugins import install_command


def serve(
    run: Model,
    host: Annotated[
        str, typer.Option(help="Address to listen at; the default is reached from this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    component: Component = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    quiet: Quiet = False,
) -> None:
    """Show one trained model as a web page: corrupt a sentence, watch it restored, give words."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"hdiff serve needs {error.name}, which is not installed; run:", install_command("serve")
        ) from None
    from hdiff.serve.server import address_of, bind, is_local, run_server

    with bind(host, port) as listener:
        say_loading(run)
        from hdiff.serve.app import create_app
        from hdiff.serve.served_run import ServedRun

        app = create_app(ServedRun.load(run, components=component or ()), names=[host])
        if not is_local(host):
            say(
                f"warning: other machines may reach {host}, and there is no password: whoever reaches the "
                f"port can use the model; leave --host out to keep it to this machine"
            )
        address = address_of(host, listener)
        typer.echo(address)
        say("Ctrl-C ends it")
        if open_browser:
            import webbrowser

            webbrowser.open(address)
        run_server(app, listener)
    say("ended")
