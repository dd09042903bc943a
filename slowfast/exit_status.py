"""Exit status of commands, and errors of users printed as one message. This module imports no torch.

Every command also checks here that PySlowFast, whose import name is ``slowfast`` too, does not interfere, and
that no package is older than this program needs.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import slowfast
from slowfast.errors import ConfigError, InstallationError, SlowFastError, UsageError
from slowfast.files import LOST_DISK, naming_file
from slowfast.interrupt import Interrupted
from slowfast.log import discard_output, printable
from slowfast.registry import DISTRIBUTION, checkout_settings

EXIT_ERROR = 1
EXIT_CONFIG_ERROR = 2
EXIT_INTERRUPTED = 130

# A word of a message that is longer than any path: a wrong file was read as a name.
_ENDLESS_WORD = re.compile(r"(\S{200})\S{1000,}")


def exit_status_of(error: BaseException) -> int:
    """Returns 2 for a wrong configuration and for wrong arguments, and 1 for any other error."""
    return EXIT_CONFIG_ERROR if isinstance(error, ConfigError | UsageError) else EXIT_ERROR


def describe_exit(exit_code: int | None) -> str:
    """Returns how a process ended, by its exit code in Python's notation: the negative number of a signal."""
    if exit_code is not None and exit_code < 0:
        return f"ended by signal {signal.Signals(-exit_code).name}"
    return f"ended with status {exit_code}"


@cache
def reports_foreign_package(program: str) -> bool:
    """Returns whether PySlowFast is used in place of this package, and then prints an error.

    Prints a warning where PySlowFast is installed in the same environment but has not replaced any file.

    Args:
        program: the command's name, at the start of messages.
    """
    ours = Path(slowfast.__file__ or ".").parent
    remedy = "use a separate environment for each of them"
    if not hasattr(slowfast, "__version__"):  # PySlowFast's package has none
        problem = f"the imported package slowfast ({ours}) is PySlowFast's, not this program's; {remedy}"
        print(f"{program}: {problem}", file=sys.stderr)
        return True
    for name in ("slowfast", "pyslowfast"):
        try:
            other = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        folder = Path(str(other.locate_file("slowfast")))
        if folder.is_dir() and folder.samefile(ours):
            problem = (
                f"PySlowFast ({name} {other.version}) has overwritten files of this program in {folder}; run "
                f"`pip uninstall {name}`, install this program again, and {remedy}"
            )
            print(f"{program}: {problem}", file=sys.stderr)
            return True
        if os.environ.get("LOCAL_RANK", "0") == "0":
            problem = (
                f"PySlowFast ({name} {other.version} in {folder.parent}) is installed beside this program "
                f"under the same import name; {remedy}, or run `pip uninstall {name}`"
            )
            print(f"{program}: warning: {problem}", file=sys.stderr)
    return False


@cache
def check_packages() -> None:
    """Raises ``InstallationError`` if a package is older than this program needs.

    Installers respect these versions, but the later installation of another package may not, and an update of
    a checkout installs nothing. A package that is missing, or that only an extra needs, is reported where it
    is used.
    """
    if old := outdated_packages(_requirements(Path(slowfast.__file__ or ".").parent.parent)):
        raise InstallationError(old)


def _requirements(folder: Path) -> Iterable[str]:
    """Returns the packages that this program needs, such as ``numpy>=1.26``.

    Args:
        folder: contains the imported package. Of a checkout its own file is read: an update has changed it,
            but not what the installation has recorded.
    """
    with suppress(importlib.metadata.PackageNotFoundError):
        if settings := checkout_settings(folder):
            return settings["project"]["dependencies"]
        return importlib.metadata.requires(DISTRIBUTION) or ()
    return ()


def outdated_packages(requirements: Iterable[str]) -> dict[str, str]:
    """Returns requirement -> the version that is installed, of packages that are older than required.

    Args:
        requirements: such as ``numpy>=1.26``; those with a condition, such as an extra, are left out.
    """
    from packaging.requirements import Requirement
    from packaging.version import Version

    old = {}
    for requirement in map(Requirement, requirements):
        if requirement.marker:
            continue
        with suppress(importlib.metadata.PackageNotFoundError):
            found = importlib.metadata.version(requirement.name)
            # A development version, such as those of vendors' containers, counts as the release to come.
            accepted = requirement.specifier.filter((found, Version(found).base_version), prereleases=True)
            if not any(accepted):
                old[str(requirement)] = found
    return old


def _with_remedy(error: Exception) -> str:
    """Returns the message of an error; one of the operating system gets a remedy, where it has one."""
    if not (isinstance(error, OSError) and error.filename and error.errno in LOST_DISK):
        return str(error)
    return (
        f"{error.filename}: cannot be used ({error.strerror}); make room or restore the access there, or "
        "choose another file or folder"
    )


def run_command(
    program: str,
    work: Callable[[], int],
    *,
    expected: tuple[type[Exception], ...] = (SlowFastError,),
    if_interrupted: str = "interrupted",
) -> int:
    """Runs the work of a command and returns its exit status; an unexpected error keeps its traceback.

    A stop at a safe point (:class:`slowfast.interrupt.Interrupted`) is printed, and gives its own status.

    Where PySlowFast is imported or has overwritten files of this package, or a package is too old, the work
    is not started.

    Args:
        program: the command's name, at the start of messages.
        work: does the work and returns the exit status.
        expected: errors that are printed as a message only.
        if_interrupted: the message after Ctrl-C.
    """
    if reports_foreign_package(program):
        return EXIT_ERROR
    try:
        check_packages()
        status = work()
        with naming_file("standard output"):
            sys.stdout.flush()  # here, since an error at the end of the interpreter would be printed
        return status
    except BrokenPipeError:  # the reader of stdout, such as `head`, has closed it
        discard_output(sys.stdout)
        return EXIT_ERROR
    except Interrupted as stopped:
        print(printable(f"{program}: {stopped}"), file=sys.stderr)
        return stopped.exit_code
    except expected as error:
        message = _ENDLESS_WORD.sub(r"\1…", _with_remedy(error))
        print(printable(f"{program}: {message}"), file=sys.stderr)
        return exit_status_of(error)
    except KeyboardInterrupt:
        print(f"{program}: {if_interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
