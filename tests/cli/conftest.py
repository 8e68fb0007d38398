"""The command, run in this process."""

import pytest
from typer.testing import CliRunner

from tfhf.cli import app


@pytest.fixture(scope="session")
def tfhf_command():
    """Run the command with arguments; the result has exit_code, stdout and stderr."""
    runner = CliRunner()

    def run(*arguments, width=200, **settings):
        environment = {"COLUMNS": str(width), "TERM": "dumb"}
        return runner.invoke(app, [str(each) for each in arguments], env=environment, **settings)

    return run
