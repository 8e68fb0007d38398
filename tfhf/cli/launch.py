"""``tfhf config`` and ``tfhf launch``: training by several processes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from tfhf.cli.options import examples

app = typer.Typer()


@app.command(epilog=examples("tfhf config", "tfhf config --config two-hosts.yaml"))
def config(
    path: Annotated[
        Path | None,
        typer.Option("--config", help="The file to write.", show_default="that which launch reads"),
    ] = None,
) -> None:
    """Ask how this machine trains, for `tfhf launch`."""
    from tfhf.training import launch_config

    path = path or launch_config.CONFIG_FILE
    launch_config.write_config(launch_config.ask_config(), path)
    typer.echo(f"written to {path}")


@app.command(
    # What follows the script is the script's.
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "tfhf launch recipes/glue.py --task mrpc",
        "tfhf launch --num-workers 2 --strategy multi_worker recipes/glue.py --task mrpc",
        "tfhf launch --host a:5000 --host b:5000 --host-index 1 recipes/glue.py",
        "tfhf launch --module mypackage.train --learning_rate 3e-5",
    ),
)
def launch(
    script: Annotated[str, typer.Argument(help="A Python script.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGS", help="Its arguments.")
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="What `tfhf config` wrote; the options below count before it.",
            show_default="where it writes",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    module: Annotated[
        bool, typer.Option("--module", "-m", help="The script is the name of a module.")
    ] = False,
    num_workers: Annotated[int | None, typer.Option(help="Processes on this host.")] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="NAME:PORT", help="A host that takes part. Repeated for each."
        ),
    ] = None,
    host_index: Annotated[int | None, typer.Option(help="Which of them this is, from 0.")] = None,
    max_restarts: Annotated[
        int | None, typer.Option(help="How often all start again when one has died.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="auto, one_device, mirrored, multi_worker or tpu.")
    ] = None,
    mixed_precision: Annotated[
        str | None, typer.Option(help="mixed_bfloat16 or mixed_float16.")
    ] = None,
) -> None:
    """Run a training script in one process per worker.

    When a worker dies, all are started again, and a script that saves its state goes on from there.
    Signals are passed on. The exit code is that of the script.
    """
    from tfhf.training import launch as launching
    from tfhf.training import launch_config

    given = {
        "num_workers": num_workers,
        "hosts": tuple(hosts or ()) or None,
        "host_index": host_index,
        "max_restarts": max_restarts,
        "strategy": strategy,
        "mixed_precision": mixed_precision,
    }
    changes: dict[str, Any] = {k: value for k, value in given.items() if value is not None}
    known = launch_config.read_config(path or launch_config.CONFIG_FILE)
    command = ("-m", [script, *(arguments or ())]) if module else (script, arguments or [])
    try:
        chosen = dataclasses.asdict(dataclasses.replace(known, **changes))
        code = launching.launch(*command, **chosen)
    except (FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    if code:
        raise typer.Exit(code)
