"""The rendezvous: all processes of a run meet, or each of them learns which rank is missing or different."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest
import torch.distributed as dist

import slowfast.distributed.rendezvous.store
from slowfast.distributed.deadline import Deadline
from slowfast.distributed.rendezvous.meeting import meet
from slowfast.distributed.rendezvous.peers import PeerInfo, describe_difference, running_code
from slowfast.distributed.world import World, choose_network, free_local_address, torchrun_world
from slowfast.errors import DistributedError
from slowfast.interrupt import Interrupted

SETTINGS = {"NUM_GPUS": 1, "DATA.MEAN": [0.5], "TRAIN.ENABLE": True}
ALIKE = {"slowfast": "1.0", "slowfast/log.py": "abc"}


def meet_all(peers: list[PeerInfo], seconds: float = 20.0) -> list[str]:
    """Runs the rendezvous of all peers, each in a thread; returns the error of each, empty on success."""
    address = free_local_address()
    errors = [""] * len(peers)
    stores = []

    def one(number: int) -> None:
        try:
            stores.append(meet(peers[number], address, Deadline(seconds)))
        except DistributedError as error:
            errors[number] = str(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(peers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def peers_of(size: int) -> list[PeerInfo]:
    return [PeerInfo(rank, size, ALIKE, SETTINGS, host=f"node{rank}", pid=100 + rank) for rank in range(size)]


def test_equal_processes_meet() -> None:
    assert meet_all(peers_of(3)) == ["", "", ""]


def test_a_difference_is_reported_by_all_ranks() -> None:
    first, second = peers_of(2)
    assert meet_all([first, replace(second, settings={**SETTINGS, "NUM_GPUS": 2, "OWN": 1})]) == 2 * [
        "rank 1 has another configuration than rank 0: NUM_GPUS: 1 → 2; make them equal"
    ]
    assert meet_all([first, replace(second, code={**ALIKE, "slowfast": "0.9"})]) == 2 * [
        "rank 1 has slowfast 0.9 instead of 1.0 (rank 1 on node1 (process 101); rank 0 on node0 "
        "(process 100)); install the same everywhere"
    ]
    assert meet_all([first, replace(second, problem="its disk is full")]) == 2 * [
        "rank 1 on node1 (process 101): its disk is full"
    ]


def test_a_version_that_describes_itself_by_more_values_is_reported_like_any_other() -> None:
    @dataclass(frozen=True)
    class LaterPeer(PeerInfo):
        zone: str = "a"

    later = LaterPeer(1, 2, {**ALIKE, "slowfast": "1.1"}, SETTINGS, host="node1")
    errors = meet_all([peers_of(2)[0], later], seconds=5.0)
    assert errors[0] == errors[1]
    assert "rank 1 has slowfast 1.1 instead of 1.0" in errors[0]


@pytest.mark.parametrize("rank", [1, 2])
def test_worlds_of_different_size_are_reported_by_all_ranks(rank: int) -> None:
    first, second = peers_of(2)
    errors = meet_all([first, replace(second, rank=rank, size=3)])
    assert errors[0] == errors[1]
    assert "belongs to a run of 3 processes" in errors[0]
    assert "give all nodes the same --num_shards" in errors[0]


def test_a_rank_started_twice_is_reported_by_all_ranks() -> None:
    first, second, _ = peers_of(3)
    errors = meet_all([first, second, replace(second, host="node7")])
    assert errors[0] == errors[1] == errors[2]
    assert "rank 1 was started twice" in errors[0]
    assert "node1" in errors[0]
    assert "node7" in errors[0]


def test_a_missing_rank_is_reported_in_time() -> None:
    begun = time.monotonic()
    errors = meet_all(peers_of(3)[:2], seconds=1.5)
    assert time.monotonic() - begun < 10
    assert errors[0] == errors[1]
    assert "rank 2 of 3 did not arrive within 1.5 s at rank 0 on node0" in errors[0]
    assert "DIST_START_TIMEOUT" in errors[0]


def test_a_missing_rank_0_is_reported_in_time() -> None:
    (errors,) = meet_all(peers_of(2)[1:], seconds=1.0)
    assert "cannot reach rank 0 at 127.0.0.1" in errors
    assert "start node 0" in errors


def test_a_process_whose_torchrun_was_killed_does_not_wait_for_the_whole_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slowfast.distributed.rendezvous.store, "_PORT_SECONDS", 0.3)
    address = urlsplit(free_local_address())
    for name, value in (
        ("MASTER_ADDR", address.hostname),
        ("MASTER_PORT", address.port),
        ("TORCHELASTIC_USE_AGENT_STORE", True),
    ):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(DistributedError, match=r"torchrun no longer listens at 127.0.0.1:\d+; start it"):
        meet(peers_of(2)[0], "env://", Deadline(20))


@pytest.mark.parametrize("port", ["99999", "-1", "0", "x"])
def test_a_wrong_port_of_torchrun_is_named(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", port)
    with pytest.raises(
        DistributedError, match=rf"MASTER_PORT are missing or wrong .*{port}.*through torchrun"
    ):
        meet(peers_of(2)[0], "env://", Deadline(1))


@pytest.mark.parametrize(
    ("rank", "size", "local_rank", "local_size"),
    [
        ("0", "0", "0", "1"),
        ("5", "2", "0", "1"),
        ("-1", "2", "0", "1"),
        ("0", "2", "2", "2"),
        ("x", "2", "0", "1"),
    ],
)
def test_wrong_ranks_of_torchrun_are_named(
    monkeypatch: pytest.MonkeyPatch, rank: str, size: str, local_rank: str, local_size: str
) -> None:
    values = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_size}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DistributedError, match=r"RANK.* WORLD_SIZE.* LOCAL_RANK.*: must be "):
        torchrun_world()


def test_a_stopped_process_leaves_the_rendezvous_and_the_others_learn_of_it() -> None:
    """Torchrun gives up after 30 s, and kills; without it a process waited for DIST_START_TIMEOUT."""
    address = free_local_address()
    errors: list[Exception] = []
    arrived = threading.Event()

    def wait() -> None:
        try:
            meet(peers_of(3)[0], address, Deadline(20, arrived.set))
        except DistributedError as error:
            errors.append(error)

    def stop_after_arrival() -> None:
        polls.append(1)
        if len(polls) > 3:
            raise Interrupted(signal.SIGTERM)

    polls: list[int] = []
    thread = threading.Thread(target=wait)
    thread.start()
    assert arrived.wait(20)
    with pytest.raises(Interrupted):
        meet(peers_of(3)[1], address, Deadline(20, stop_after_arrival))
    thread.join(20)
    assert [str(error) for error in errors] == ["rank 1 on node1 (process 101) was stopped by SIGTERM"]


def test_a_process_that_is_stopped_when_all_have_met_goes_on_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others wait for it in their next operation; it is stopped at the first safe point after that."""
    first, second = peers_of(2)
    address = free_local_address()
    stores = []
    registered, met, stopped = threading.Event(), threading.Event(), threading.Event()
    write = PeerInfo.write

    def register(peer: PeerInfo, store: dist.Store) -> None:
        write(peer, store)
        if peer.rank == second.rank:
            registered.set()

    def meet_first() -> None:
        stores.append(meet(first, address, Deadline(20)))
        met.set()

    def stop_once_met() -> None:
        if registered.is_set():
            assert met.wait(20)
            stopped.set()
            raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(PeerInfo, "write", register)
    thread = threading.Thread(target=meet_first)
    thread.start()
    assert meet(second, address, Deadline(20, stop_once_met)).get("result") == b"good"
    assert stopped.is_set()
    thread.join(20)


def test_a_surplus_process_does_not_disturb_a_complete_run() -> None:
    first, second = peers_of(2)
    address = free_local_address()
    stores = []
    thread = threading.Thread(target=lambda: stores.append(meet(first, address, Deadline(20))))
    thread.start()
    meet(second, address, Deadline(20))
    thread.join(20)
    with pytest.raises(DistributedError, match="rank 1 was started twice"):
        meet(second, address, Deadline(20))
    assert stores[0].get("result") == b"good"


@pytest.mark.parametrize(
    "address", ["10.0.0.1:99", "tcp://10.0.0.1", "tcp://:99", "file:///tmp/x", "tcp://h:x"]
)
def test_an_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(DistributedError, match="give tcp://HOST:PORT of node 0"):
        meet(peers_of(2)[0], address, Deadline(1))


def test_code_is_compared_by_its_sources() -> None:
    code = running_code()
    assert describe_difference(code, code) == ""
    assert "slowfast/distributed/rendezvous/peers.py" in code
    changed = {**code, "slowfast/distributed/rendezvous/peers.py": "x"}
    assert describe_difference(changed, code) == "other sources: slowfast/distributed/rendezvous/peers.py"


def test_a_loopback_network_is_never_chosen() -> None:
    environment: dict[str, str] = {}
    assert choose_network(World(0, 2, 0, 1), "tcp://127.0.0.1:9", environment) == ""
    assert choose_network(World(0, 2, 0, 2), "tcp://10.0.0.1:9", environment) == ""  # one node
    assert environment == {}
