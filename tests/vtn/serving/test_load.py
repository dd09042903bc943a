"""Many clients at once: each is answered, and afterwards no place, file or process is lost."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support.broken_corpus import make_corpus
from tests.support.serving.running import LIMITS, Running, wait_for

CLIENTS = 20
CUT_OFF = "cut off"


def send_and_hang_up(server: Running, content: bytes) -> str:
    """Sends a part of an upload and closes the connection."""
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + content[: len(content) // 2])
    return CUT_OFF


def upload_all(server: Running, uploads: Sequence[tuple[bytes, bool]]) -> Counter[int | str]:
    """Sends (content, cut off) by 20 clients at once; returns the number of answers by their status."""

    def send(upload: tuple[bytes, bool]) -> int | str:
        content, is_cut = upload
        return send_and_hang_up(server, content) if is_cut else server.send(content).status_code

    with ThreadPoolExecutor(CLIENTS) as clients:
        found = Counter(clients.map(send, uploads))
    wait_for(lambda: server.service.num_requests == 0)
    return found


def test_twenty_clients_at_once(server: Running, videos: Path) -> None:
    content = (videos / "13.mp4").read_bytes()
    uploads = [(b"not a video" if k % 4 == 0 else content, k % 10 == 9) for k in range(CLIENTS)]
    assert upload_all(server, uploads) == {200: 13, 422: 5, CUT_OFF: 2}
    assert server.service.pool.status == "ok"


@pytest.mark.faults
def test_two_hundred_uploads(server: Running, videos: Path, tmp_path: Path) -> None:
    """A quarter of the uploads is broken, cut off in the middle, or hostile."""
    chooser = random.Random(0)
    good = [path.read_bytes() for path in sorted(videos.glob("*.mp4"))]
    broken = [
        Path(case.path).read_bytes()[: LIMITS.upload_bytes]
        for name, case in make_corpus(tmp_path).items()
        if name.startswith(("truncated", "damaged", "not_videos", "huge", "playlists"))
    ]
    (worker,) = server.service.pool.workers
    wait_for(lambda: worker.is_ready)
    process, replaced = worker.process_id, server.service.pool.num_replaced
    assert process is not None
    upload_all(server, [(chooser.choice(good), False) for _ in range(CLIENTS)])  # memory reaches its level
    before = psutil.Process(process).memory_info().rss, psutil.Process().memory_info().rss
    uploads = [(chooser.choice(good), False) for _ in range(150)]
    uploads += [(chooser.choice(broken), False) for _ in range(40)]
    uploads += [(chooser.choice(good), True) for _ in range(10)]
    chooser.shuffle(uploads)
    found = upload_all(server, uploads)
    after = psutil.Process(process).memory_info().rss, psutil.Process().memory_info().rss
    print(f"answers {dict(found)}, worker {before[0] >> 20} -> {after[0] >> 20} MiB, "
          f"server {before[1] >> 20} -> {after[1] >> 20} MiB")  # fmt: skip
    assert sum(found.values()) == 200
    assert set(found) <= {200, 413, 422, CUT_OFF}
    assert found[200] >= 150
    assert found[CUT_OFF] == 10
    assert (worker.process_id, server.service.pool.num_replaced) == (process, replaced)
    assert after[0] - before[0] < 300 << 20
    assert after[1] - before[1] < 100 << 20
