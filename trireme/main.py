"""The entry point: the table of commands, and the exit codes that every failure maps to."""

import difflib
import importlib
import sys
from typing import NoReturn

import click

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_REFUSED, EXIT_PARTLY = 1, 2, 3, 4

# name -> (module, attribute, one line). The line is here so that `--help` imports no command.
COMMANDS = {
    "demo": ("trireme.demo", "demo", "The main job: a paper session on Ray, a sweep and a report, offline."),
    "data": ("trireme.data", "data", "Import, fetch and check market data."),
    "backtest": ("trireme.backtest", "backtest", "Replay one configuration over bars."),
    "sweep": ("trireme.sweep", "sweep", "Thousands of configurations on Ray Tune, round after round, judged honestly."),
    "paper": ("trireme.paper", "paper", "Trade without money: over bars, or at venues in real time."),
    "venues": ("trireme.venues", "venues", "Simulated venues for anyone's client; is my account fit for trading?"),
    "scars": ("trireme.scars", "scars", "What broke once, run again with its guard off and on."),
    "strategies": ("trireme.strategies", "strategies", "The strategies, their parameters and what they believe."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when it is called, so that `--help` starts at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            close = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(COMMANDS)}"
            raise click.UsageError(f"unknown command {cmd_name!r}: {mend}", ctx)
        module, attribute, _ = COMMANDS[cmd_name]
        from market.kernel_cache import set_kernel_cache  # before the command imports the first kernel

        set_kernel_cache()
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="trireme")
def cli() -> None:
    """Trireme trades crypto perpetuals. What trades is what was tested; every order is guarded.

    Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 3 refused by a risk rule or a latch, 4 partly done.
    """


def main() -> NoReturn:
    """Run the command line; bad input ends in one line on stderr and exit code 2."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(EXIT_BAD_INPUT)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = f" (see `{context.command_path} --help`)" if context is not None else ""
        click.echo(f"error: {error.format_message()}{where}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(EXIT_FAILED)
    except (ValueError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
