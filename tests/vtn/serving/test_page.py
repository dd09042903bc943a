"""The page loads nothing from elsewhere, other sites cannot use the server, and a browser shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from slowfast.visualization.page import fill_template
from tests.support.pages.browser import dump_page, needs_browser
from tests.support.serving.running import Running
from vtn.serving.protection import LOOPBACK_NAMES, Protection


@pytest.fixture
def page(server: Running) -> httpx.Response:
    with server.client() as client:
        return client.get("/")


def test_the_page_names_no_other_address(page: httpx.Response) -> None:
    # The name space of SVG is not an address that is loaded.
    assert set(re.findall(r"https?://[^\"'` ]+", page.text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|img|script|iframe)[^>]+(src|href)=(?!\"data:)", page.text)
    assert " style=" not in page.text  # would be refused by the policy
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy


@pytest.mark.parametrize("path", ["/", "/health", "/missing", "/examples/0", "/examples/x"])
def test_all_answers_have_headers_of_protection(server: Running, path: str) -> None:
    with server.client() as client:
        headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "SELF"}, 200),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "other.example"}, 403),
        ({"host": "127.0.0.1.other.example"}, 403),
        ({"host": "[broken"}, 403),
        ({"origin": "http://other.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[broken"}, 403),
        ({"origin": "http://[::1"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(server: Running, headers: dict[str, str], status: int) -> None:
    sent = {name: value.replace("SELF", server.url) for name, value in headers.items()}
    with server.client() as client:
        answer = client.get("/health", headers=sent)
    assert answer.status_code == status
    if status != 200:
        assert set(answer.json()) == {"error", "remedy"}


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("lab.example", "https://lab.example", 200),
        ("Lab.Example:8443", "https://lab.example:8443", 200),
        ("127.0.0.1:8000", "https://lab.example", 200),  # the proxy changes Host
        ("127.0.0.1:8000", "https://other.example", 403),
        ("127.0.0.1:8000", "http://127.0.0.1:3000", 403),  # another server of this computer
        ("other.example", None, 403),
    ],
)
def test_names_of_a_proxy_are_accepted(host: str, origin: str | None, status: int) -> None:
    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/", answer)])
    protected = Protection(app, hosts={*LOOPBACK_NAMES, "lab.example"}, origins=["lab.example"])
    headers = {"host": host, **({} if origin is None else {"origin": origin})}
    assert TestClient(protected).get("/", headers=headers).status_code == status


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/examples/..%2f..%2fetc%2fpasswd", "/examples/-1", "/examples"]
)
def test_no_folder_can_be_read(server: Running, path: str) -> None:
    with server.client() as client:
        answer = client.get(path)
    assert answer.status_code in (404, 422) or answer.json() == [
        {"number": k, "name": name} for k, name in enumerate(["01.mp4", "13.mp4", "40.mp4"])
    ]


def dump_with(script: str, folder: Path) -> str:
    """Returns the elements of the page after another script has taken the place of its start."""
    page = fill_template("vtn.serving", "page.html")
    start = "start().catch(explain);\n</script>"
    assert page.count(start) == 1
    file = folder / "page.html"
    file.write_text(page.replace(start, f"{script}\n</script>"))
    return dump_page(file.as_uri(), folder / "profile")


ANSWER: dict[str, Any] = {
    "score_activation": "softmax", "video": "a.mp4", "seconds": 2.0, "frames": 8, "undecodable_frames": 0,
    "classes": ["a", "b"], "top": [{"class": "a", "score": 0.6}], "scores": [0.6, 0.4], "attention": None,
    "shown_frames": [], "windows": [{"start": 0, "end": 2, "top": [], "scores": [0.6, 0.4]}],
}  # fmt: skip


@needs_browser
@pytest.mark.parametrize(
    ("activation", "shown", "axis", "width"),
    [
        ("softmax", "60.0 %", ["0.0", "0.5", "1.0"], "60%"),
        ("sigmoid", "60.0 %", ["0.0", "0.5", "1.0"], "60%"),
        ("none", "0.6", ["-11.5", "0", "12.3"], "100%"),
    ],
)
def test_scores_that_are_not_fractions_are_shown_as_numbers(
    activation: str, shown: str, axis: list[str], width: str, tmp_path: Path
) -> None:
    over_time = [[12.34, -11.5], [0.6, -0.1]] if activation == "none" else [[0.9, 0.1], [0.6, 0.4]]
    scores = [0.6, -9.75] if activation == "none" else [0.6, 0.4]
    names = ["approach", "1"]  # the second class has no name
    top = [{"class": name, "score": score} for name, score in zip(names, scores, strict=True)]
    windows = [{"start": k, "end": k + 1, "top": [], "scores": s} for k, s in enumerate(over_time)]
    changes = {"classes": names, "top": top, "scores": scores, "windows": windows}
    answer = {**ANSWER, "score_activation": activation, **changes}
    dump = dump_with(f'show({json.dumps(answer)}, "a.mp4");', tmp_path)
    assert f'id="facts">score {shown}</p>' in dump
    assert "<bdi>a.mp4</bdi>: 2.00 s, 8 frames scored" in dump  # in this order for Hebrew names as well
    assert re.findall(r'text-anchor="end">([^<]*)<', dump) == axis
    assert re.search(rf'<i style="[^"]*width: {width}', dump)
    assert "NaN" not in dump
    assert ">approach</span>" in dump
    assert dump.count("class 1</") == 2, "its row, and the legend of the chart"


@needs_browser
def test_the_moment_that_is_shown_stays_when_the_window_changes_its_size(tmp_path: Path) -> None:
    script = f'show({json.dumps(ANSWER)}, "a.mp4"); moveTo(2); dispatchEvent(new Event("resize"));'
    dump = dump_with(script, tmp_path)
    assert 'aria-valuenow="2.00"' in dump
    (cursor,) = re.findall(r'class="cursor" x1="([\d.]+)"', dump)
    assert float(cursor) > 100


@needs_browser
@pytest.mark.parametrize(
    ("answers", "shown"),
    [
        ([{"classes": 0, "is_ready": False}], "The model is being loaded …</div>"),
        ([{"classes": 0, "is_ready": False}, {"classes": 7, "model": "M"}], '<div id="status" role="status"'),
        (
            [{"error": "the host name is refused", "remedy": "open another"}],
            "<b>the host name is refused</b>",
        ),
        ([], "<b>the server cannot be reached</b>"),
    ],
    ids=["loading", "loaded", "refused", "gone"],
)
def test_the_page_tells_the_state_of_the_server(
    answers: list[dict[str, object]], shown: str, tmp_path: Path
) -> None:
    fetch = f"""const answers = {json.dumps(answers)};
fetch = async path => {{
  if (!answers.length) throw new TypeError("no connection");
  const content = path === "/examples" ? [] : answers.length > 1 ? answers.shift() : answers[0];
  return {{ ok: true, json: async () => content }};
}};
"""
    dump = dump_with(f"{fetch}start().catch(explain);", tmp_path)
    assert shown in dump
    assert ("<bdi>M</bdi> · 7 classes" in dump) is (len(answers) == 2)
    assert "undefined" not in dump[dump.index("<body>") : dump.index("<script>")]


@needs_browser
def test_times_have_hours_as_those_of_the_player(tmp_path: Path) -> None:
    health = {"classes": 2, "model": "M", "max_upload_bytes": 1e9, "max_video_seconds": 20_000}
    script = f"""fetch = async path => ({{ json: () => path === "health" ? {json.dumps(health)} : [] }});
document.body.dataset.times = [9, 75, 3599.5, 3600, 10799].map(clock);
start();
"""
    dump = dump_with(script, tmp_path)
    assert re.findall(r'data-times="([^"]*)"', dump) == ["9.00 s,1:15,59:59,1:00:00,2:59:59"]
    assert "up to 1000&nbsp;MB and 5.5&nbsp;hours" in dump


@needs_browser
def test_the_page_sends_the_last_choice_and_no_file_above_the_limit(tmp_path: Path) -> None:
    script = """const sent = [], answers = {
  health: { classes: 2, model: "M", max_upload_bytes: 1e6, max_video_seconds: 60 },
  examples: ["slow.mp4", "lost.mp4", "fast.mp4"].map((name, number) => ({ number, name })),
};
let release;
const released = new Promise(done => { release = done; });
fetch = async path => ({
  ok: path !== "examples/1",
  json: async () => { if (path in answers) return answers[path]; await released; return { error: "lost" }; },
  blob: async () => { if (path === "examples/0") await released; return new Blob(["x"]); },
});
XMLHttpRequest = class {
  upload = {}; open() {} abort() {}
  send(form) { sent.push(form.get("video").name); }
};
const later = () => new Promise(done => setTimeout(done));
start().then(async () => {
  for (const button of $("examples").querySelectorAll("button")) button.click();
  await later(); release(); await later();
  document.body.dataset.told = $("status").textContent;
  take([new File([new ArrayBuffer(2e6)], "large.mp4")]);
  document.body.dataset.sent = sent;
});
"""
    dump = dump_with(script, tmp_path)
    assert re.findall(r'data-sent="([^"]*)"', dump) == ["fast.mp4"]
    assert re.findall(r'data-told="([^"]*)"', dump) == ["Sending fast.mp4 …"]
    assert "<b>the video is larger than 1 MB</b>" in dump


def test_the_page_says_without_its_script_what_to_do(page: httpx.Response) -> None:
    found = re.search(r"<noscript>(.*?)</noscript>", page.text, re.DOTALL)
    assert found is not None
    assert "curl -F video=@video.mp4" in found[1]


@needs_browser
def test_a_browser_runs_the_page(server: Running, tmp_path: Path) -> None:
    """The script runs under the policy of the page: it shows the model and the examples."""
    dump = dump_page(f"{server.url}/", tmp_path)
    assert "<bdi>TINY</bdi> · 3 classes" in dump
    assert '<button type="button">13.mp4</button>' in dump
    assert f"curl -F video=@video.mp4 {server.url}/predict" in dump


def test_the_page_names_no_address_from_the_root(page: httpx.Response) -> None:
    """A proxy may offer the server below a path of its own."""
    assert not re.findall(r"""(?:["'`(=]|href=)/[a-z]\w+""", page.text)
    assert 'own.open("POST", "predict")' in page.text
