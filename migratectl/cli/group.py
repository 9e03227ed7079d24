"""The shape of the commands: groups that load a command when it is called, global options that stand anywhere."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from migratectl.cli.params import PID, SECONDS, UID
from migratectl.cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from migratectl.cli.touching import Telling


_NEGATIVE = "-[0-9]+"
_FLAGS = frozenset({"--json", "--dry-run", "--quiet", "--verbose"})
_OF_THE_CALL = frozenset({"global_state", "global_dry_run", "global_timeout"})
"""Global options of the call that a race meets, not of the command that meets it."""

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "terminal_width": 80, "max_content_width": 80}


@dataclass(frozen=True)
class Entry:
    """
    What is known of a command that is not loaded.

    Args:
        section: Heading under which the help lists it.
        help: Its line in the help, equal to the first line of its own.
        module: Module of ``migratectl.cli`` that has it; None for a group that is no command itself.
        group: Further commands below its name.
    """

    section: str
    help: str
    module: str | None = None
    group: Mapping[str, Entry] | None = None


class Command(click.Command):
    """
    A command that takes the global options too, ends its help with examples and tells a race what it touches.

    Args:
        touches: What it touches by its parameters; None where it is about the state file, so that no task runs it.
        examples: Lines without the program's name.
    """

    def __init__(self, *args: Any, touches: Telling | None, examples: tuple[str, ...] = (), **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.touches = touches
        self.examples = examples
        self.context_settings = CONTEXT | dict(self.context_settings)
        taken = {word for param in self.params for word in param.opts}
        self.params.extend(option for option in global_options(hidden=True) if not taken & {*option.opts})
        self._all_params: list[click.Parameter] = []
        self._parser: Any = None
        self._valued: dict[str, bool] = {}

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """All parameters with --help, found out once: the lines of a batch ask for them again and again."""
        if not self._all_params:
            self._all_params = super().get_params(ctx)
        return self._all_params

    def make_parser(self, ctx: click.Context) -> Any:
        """The parser of these parameters, made once and turned to the context at hand."""
        if self._parser is None:
            self._parser = super().make_parser(ctx)
        self._parser.ctx, self._parser.ignore_unknown_options = ctx, ctx.ignore_unknown_options
        return self._parser

    @property
    def valued(self) -> dict[str, bool]:
        """The options that have a value, by every word for them, and whether they are global ones."""
        if not self._valued:
            self._valued = {
                word: str(param.name).startswith("global_")
                for param in self.params
                if isinstance(param, click.Option) and not param.is_flag and not param.count
                for word in param.opts
            }
        return self._valued

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words, and tell the session which command they call and how the journal keeps them."""
        args = ["--trace=" if word == "--trace" else word for word in args]  # its value is optional, and only after =
        words = own_words(self, args)
        ctx.ignore_unknown_options = any(
            re.fullmatch(_NEGATIVE, word) for word in args
        )  # a negative pid is an argument
        rest = super().parse_args(ctx, args)
        session = ctx.find_object(Session)
        if session is not None:
            session.command = ctx.command_path.partition(" ")[2]
            session.words = (*session.command.split(), *words, *session.options.caller_words())
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where a race asks, tell what it touches (Touches) or that no task runs it (UsageError)."""
        session = ctx.find_object(Session)
        if session is None or not session.asked:
            return super().invoke(ctx)
        if self.touches is None:
            raise click.UsageError("it is about the state file, no task can run it")
        return self.touches(**ctx.params)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and where the global options are told."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"  migratectl {example}\n")
        formatter.write("\nThe global options of 'migratectl --help' may follow the command too.\n")


class LazyGroup(click.Group):
    """
    A group that knows its commands by a registry and imports the module of the one that is called.

    Args:
        registry: Names of the commands, in the order of the help, and what is known of them.
    """

    def __init__(self, *args: Any, registry: Mapping[str, Entry], **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.registry = registry
        self.context_settings = CONTEXT | dict(self.context_settings)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the registry, in its order."""
        return list(self.registry)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded now; None where there is none."""
        if cmd_name not in self.commands and cmd_name in self.registry:
            self.commands[cmd_name] = self._load(cmd_name, self.registry[cmd_name])
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names. Raises UsageError with the names that are like it."""
        word = args[0]
        if ctx.resilient_parsing or word.startswith("-") or word in self.registry:
            return super().resolve_command(ctx, args)
        meant = " or ".join(f"'{name}'" for name in self._meant(word))
        raise click.UsageError(f"No such command '{word}'" + (f"; did you mean {meant}?" if meant else ""), ctx)

    def _meant(self, word: str) -> list[str]:
        """Names like a word: of this group's commands, else of those below it that are called so."""
        from difflib import get_close_matches  # noqa: PLC0415 - only a wrong word needs it

        known = word.lower().replace("_", "-")
        if near := get_close_matches(known, self.registry, n=2, cutoff=0.7):
            return near
        below = {f"{name} {each}": each for name, entry in self.registry.items() for each in entry.group or ()}
        return [path for path, each in below.items() if each == known][:2]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, without loading one."""
        for section in dict.fromkeys(entry.section for entry in self.registry.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name, entry.help) for name, entry in self.registry.items() if entry.section == section]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of the commands, and the options of the group."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only completion loads it, as in click

        names = [
            CompletionItem(name, help=entry.help)
            for name, entry in self.registry.items()
            if name.startswith(incomplete)
        ]
        return names if names or not incomplete.startswith("-") else click.Command.shell_complete(self, ctx, incomplete)

    def call(self, name: str, words: list[str], session: Session, parent: click.Context | None = None) -> Any:
        """
        Run what the words say.

        A line that begins with a command, as those of a batch do, is spared the reading of the group's own options.

        Args:
            name: The program's name.
            words: The words after it.
            session: What the command works on.
            parent: Of the group that this one is in.

        Returns:
            What the command returned.
        """
        first = self.get_command(click.Context(self), words[0]) if words else None
        if first is None:
            with self.make_context(name, words, parent=parent, obj=session) as context:
                return self.invoke(context)
        with click.Context(self, info_name=name, parent=parent, obj=session) as here:
            if isinstance(first, LazyGroup):
                return first.call(words[0], words[1:], session, here)
            with first.make_context(words[0], words[1:], parent=here) as context:
                return first.invoke(context)

    def _load(self, name: str, entry: Entry) -> click.Command:
        if entry.group is not None and entry.module is None:
            return LazyGroup(name, help=entry.help, registry=entry.group, params=global_options(hidden=True))
        module = importlib.import_module(f"migratectl.cli.{entry.module}")
        path = name if self.name is None else f"{self.name}-{name}"
        found: click.Command = getattr(module, f"{path.replace('-', '_')}_command")
        if isinstance(found, LazyGroup):
            found.registry = entry.group or {}
        return found


class CommandWithCommands(LazyGroup, Command):
    """A command that has further commands: it runs itself where none of them is named."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, registry={}, **keywords)


def command(*examples: str, touches: Telling | None) -> Callable[[Callable[..., int]], Command]:
    """
    A command whose first argument is the session; its help comes from the docstring.

    Args:
        examples: They close the help.
        touches: What it touches; None where no task runs it.
    """

    def decorate(function: Callable[..., int]) -> Command:
        return click.command(cls=Command, examples=examples, touches=touches)(click.pass_obj(function))

    return decorate


def own_words(command: Command, args: Sequence[str]) -> list[str]:
    """
    The words of a command without the global options and their values.

    Args:
        command: Whose words they are; its own options may have values that look like options.
        args: The words after its name.

    Returns:
        What the journal keeps.
    """
    takes_value = command.valued
    kept: list[str] = []
    words = iter(args)
    for word in words:
        name, equals, _ = word.partition("=")
        if word == "--":
            return [*kept, word, *words]
        if name in takes_value:
            value = [] if equals else [each for each in (next(words, None),) if each is not None]
            kept += [] if takes_value[name] else [word, *value]
        elif not (word in _FLAGS or _is_cluster(word)):
            kept.append(word)
    return kept


def _is_cluster(word: str) -> bool:
    """Whether a word is global options of one letter, such as ``-nj`` or ``-sFILE``."""
    return re.fullmatch(r"-[jnqv]+|-[jnqv]*s.+", word) is not None


def global_options(*, hidden: bool) -> list[click.Option]:
    """
    The options that every command takes, before and after its name.

    Args:
        hidden: Leave them out of the help.

    Returns:
        New options; each writes into the session when it is given.
    """
    return [
        _option(("-s", "--state"), "Use this state file.", hidden, metavar="FILE"),
        _option(("-j", "--json"), "Print JSON instead of tables.", hidden, is_flag=True),
        _option(("-n", "--dry-run"), "Do all of it, print the result, change nothing.", hidden, is_flag=True),
        _option(("--as",), "Call as this user id (default 0).", hidden, type=UID),
        _option(("--by",), "Call as this task: its user, rights, cpuset and CPU.", hidden, type=PID),
        _option(
            ("--timeout",),
            "Wait so long for another process (default 30).",
            hidden,
            type=SECONDS,
        ),
        _option(("-q", "--quiet"), "Say less on standard error.", hidden, count=True),
        _option(("-v", "--verbose"), "Say more on standard error.", hidden, count=True),
        _option(
            ("--color",),
            "Colours: on a terminal, in any case, never.",
            hidden,
            type=click.Choice(["auto", "always", "never"]),
        ),
    ]


def _option(words: tuple[str, ...], text: str, hidden: bool, **keywords: Any) -> click.Option:
    name = "global_" + words[-1].lstrip("-").replace("-", "_")
    return click.Option(
        (*words, name), help=text, hidden=hidden, expose_value=False, callback=_remember, default=None, **keywords
    )


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    name, session = str(param.name), ctx.find_object(Session)
    if name == "global_state" and value == "":
        raise click.BadParameter(
            "'' names no file; write the path of a state file, or leave the option out", ctx, param
        )
    if name in _OF_THE_CALL:
        refuse_in_a_race(ctx, param, value)
    if session is not None and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        session.options.set(name.removeprefix("global_"), value)
    return value


def refuse_in_a_race(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """The value of an option that the command of a race cannot have (UsageError): it is for the call that it meets."""
    session = ctx.find_object(Session)
    given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    if given and session is not None and session.asked:
        raise click.UsageError(f"the option {param.opts[-1]} does not go with a race; leave it out")
    return value
