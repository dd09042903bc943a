"""Hosts on one machine: network namespaces joined by a switch, whose links can be cut."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_numbers = itertools.count()


class Hosts:
    """Hosts 0 … n − 1 with one address each, on a switch of their own and without any other network."""

    def __init__(self, names: list[str], switch: str) -> None:
        self._names = names
        self._switch = switch

    def address(self, host: int) -> str:
        return f"10.83.0.{host + 1}"

    def command(self, host: int, *command: str) -> list[str]:
        """Returns the command that runs ``command`` on a host, under the same process id."""
        return ["ip", "netns", "exec", self._names[host], *command]

    def cut_link(self, host: int) -> None:
        """Cuts a host off: packets to it and from it are lost without an error."""
        _ip("-n", self._switch, "link", "set", f"port{host}", "down")

    def restore_link(self, host: int) -> None:
        _ip("-n", self._switch, "link", "set", f"port{host}", "up")


@contextmanager
def made_hosts(count: int) -> Iterator[Hosts]:
    """Makes hosts and removes them afterwards; all processes on them must have ended by then."""
    prefix = f"slowfast{os.getpid()}x{next(_numbers)}"
    names, switch = [f"{prefix}h{host}" for host in range(count)], f"{prefix}s"
    hosts = Hosts(names, switch)
    made = []
    try:
        for name in (switch, *names):
            _ip("netns", "add", name)
            made.append(name)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for host, name in enumerate(names):
            port = f"port{host}"
            _ip("link", "add", port, "netns", switch, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{hosts.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", "eth0", "up")
        yield hosts
    finally:
        for name in made:
            _ip("netns", "delete", name)


def why_no_hosts() -> str:
    """Returns why this machine or user cannot make hosts; empty where it can."""
    if shutil.which("ip") is None:
        return "the command ip is missing (package iproute2)"
    try:
        with made_hosts(1):
            return ""
    except subprocess.CalledProcessError as error:
        return f"no right to make network namespaces: {error.stderr.strip()}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)
