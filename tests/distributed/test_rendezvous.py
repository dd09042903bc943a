"""The processes of a run meet, or each of them hears who is missing or different."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from slowfast.distributed.code_version import describe_difference, running_code
from slowfast.distributed.rendezvous import Deadline, PeerInfo, meet
from slowfast.distributed.world import World, choose_network, free_local_address
from slowfast.errors import DistributedError

ALIKE = {"slowfast": "1.0", "slowfast/log.py": "abc"}


def meet_all(cards: list[PeerInfo], seconds: float = 20.0) -> list[str]:
    """Has all cards meet, each in a thread; returns what each heard, an empty text when all was well."""
    address = free_local_address()
    heard = [""] * len(cards)
    stores = []

    def one(number: int) -> None:
        try:
            stores.append(meet(cards[number], address, Deadline(seconds), differences=differences))
        except DistributedError as error:
            heard[number] = str(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(cards))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return heard


def differences(theirs: str, ours: str) -> list[str]:
    return [f"{theirs} → {ours}"] if theirs != ours else []


def cards(size: int) -> list[PeerInfo]:
    return [
        PeerInfo(rank, size, ALIKE, "config", host=f"machine{rank}", pid=100 + rank) for rank in range(size)
    ]


def test_those_who_are_alike_meet() -> None:
    assert meet_all(cards(3)) == ["", "", ""]


def test_one_that_differs_is_told_to_all() -> None:
    first, second = cards(2)
    assert meet_all([first, replace(second, config="other")]) == 2 * [
        "rank 1 has another configuration than rank 0: config → other; align them"
    ]
    assert meet_all([first, replace(second, code={**ALIKE, "slowfast": "0.9"})]) == 2 * [
        "rank 1 has slowfast 0.9 instead of 1.0 (rank 1 on machine1 (process 101); rank 0 on machine0 "
        "(process 100)); install the same everywhere"
    ]
    assert meet_all([first, replace(second, problem="its disk is full")]) == 2 * [
        "rank 1 on machine1 (process 101): its disk is full"
    ]


@pytest.mark.parametrize("rank", [1, 2])
def test_worlds_of_different_size_are_told_to_both(rank: int) -> None:
    first, second = cards(2)
    heard = meet_all([first, replace(second, rank=rank, size=3)])
    assert heard[0] == heard[1]
    assert "belongs to a run of 3 processes" in heard[0]
    assert "give all machines the same --num_shards" in heard[0]


def test_the_same_place_twice_is_told_to_all() -> None:
    first, second, _ = cards(3)
    heard = meet_all([first, second, replace(second, host="machine7")])
    assert heard[0] == heard[1] == heard[2]
    assert "rank 1 is there twice" in heard[0]
    assert "machine1" in heard[0]
    assert "machine7" in heard[0]


def test_who_is_missing_is_told_in_time() -> None:
    begun = time.monotonic()
    heard = meet_all(cards(3)[:2], seconds=1.5)
    assert time.monotonic() - begun < 10
    assert heard[0] == heard[1]
    assert "rank 2 of 3 did not arrive within 1.5 s at rank 0 on machine0" in heard[0]
    assert "DIST_START_TIMEOUT" in heard[0]


def test_nobody_to_meet_is_told_in_time() -> None:
    (heard,) = meet_all(cards(2)[1:], seconds=1.0)
    assert "cannot reach rank 0 at 127.0.0.1" in heard
    assert "start machine 0" in heard


def test_one_too_many_does_not_disturb_a_complete_run() -> None:
    first, second = cards(2)
    address = free_local_address()
    stores = []
    thread = threading.Thread(
        target=lambda: stores.append(meet(first, address, Deadline(20), differences=differences))
    )
    thread.start()
    meet(second, address, Deadline(20), differences=differences)
    thread.join(20)
    with pytest.raises(DistributedError, match="rank 1 is there twice"):
        meet(second, address, Deadline(20), differences=differences)
    assert stores[0].get("verdict") == b"good"


@pytest.mark.parametrize(
    "address", ["10.0.0.1:99", "tcp://10.0.0.1", "tcp://:99", "file:///tmp/x", "tcp://h:x"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(DistributedError, match="give tcp://HOST:PORT of machine 0"):
        meet(cards(2)[0], address, Deadline(1), differences=differences)


def test_code_is_compared_by_its_sources() -> None:
    code = running_code()
    assert describe_difference(code, code) == ""
    assert "slowfast/distributed/rendezvous.py" in code
    changed = {**code, "slowfast/distributed/rendezvous.py": "x"}
    assert describe_difference(changed, code) == "other sources: slowfast/distributed/rendezvous.py"


def test_the_network_of_rank_0_is_chosen_but_no_loopback() -> None:
    environment: dict[str, str] = {}
    assert choose_network(World(0, 2, 0, 1), "tcp://127.0.0.1:9", environment) == ""
    assert choose_network(World(0, 2, 0, 2), "tcp://10.0.0.1:9", environment) == ""  # one machine
    assert environment == {}
