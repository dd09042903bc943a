"""The answer to a video has the scores of the predictor, over time, with the frames of highest attention."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.serving.running import Running
from vtn import Predictor


@pytest.fixture(scope="module")
def predictor(published: Path) -> Predictor:
    return Predictor(published, device="cpu")


def test_the_scores_are_those_of_the_predictor(server: Running, predictor: Predictor, videos: Path) -> None:
    expected = predictor(videos / "40.mp4")
    answer = server.send((videos / "40.mp4").read_bytes(), "clips/40.mp4")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-6)
    assert found["classes"] == predictor.class_names
    assert [one["class"] for one in found["top"]] == [one.label for one in expected.top()]
    assert (found["video"], found["seconds"], found["frames"]) == ("40.mp4", 4.0, expected.num_frames)
    assert found["undecodable_frames"] == 0
    assert found["score_activation"] == "softmax"


def test_an_answer_has_windows_and_attention(server: Running, predictor: Predictor, videos: Path) -> None:
    found = server.send((videos / "40.mp4").read_bytes()).json()
    windows = found["windows"]
    assert windows[0]["start"] == 0
    assert windows[-1]["end"] == pytest.approx(found["seconds"])
    assert all(sum(window["scores"]) == pytest.approx(1) for window in windows)
    attention = predictor.explain(videos / "40.mp4").attention
    assert attention is not None
    np.testing.assert_allclose(found["attention"]["values"], attention.rollout, atol=1e-6)
    shown = found["shown_frames"]
    highest = sorted(found["attention"]["values"], reverse=True)[: len(shown)]
    assert [frame["attention"] for frame in shown] == pytest.approx(highest)
    for frame in shown:
        row = found["attention"]["seconds"].index(frame["seconds"])
        assert found["attention"]["values"][row] == frame["attention"]
        with Image.open(io.BytesIO(base64.b64decode(frame["jpeg"]))) as image:
            assert (image.format, image.size) == ("JPEG", (320, 240))


def test_a_video_of_one_frame_has_no_attention(server: Running, videos: Path) -> None:
    found = server.send((videos / "01.mp4").read_bytes()).json()
    assert found["attention"] is None
    assert [frame["attention"] for frame in found["shown_frames"]] == [None]
    assert found["frames"] == 1


def test_health_and_examples_are_answered(server: Running, videos: Path) -> None:
    with server.client() as client:
        health = client.get("/health").json()
        examples = client.get("/examples").json()
        content = client.get(f"/examples/{examples[1]['number']}").content
        missing = client.get("/examples/3")
    assert health["status"] == "ok"
    assert (health["model"], health["classes"], health["requests"]) == ("TINY", 3, 0)
    assert [example["name"] for example in examples] == ["01.mp4", "13.mp4", "40.mp4"]
    assert content == (videos / "13.mp4").read_bytes()
    assert missing.status_code == 404
    assert missing.json()["error"] == "example 3 does not exist"


def test_the_schema_documents_the_endpoint(server: Running) -> None:
    with server.client() as client:
        schema = client.get("/openapi.json").json()
    endpoint = schema["paths"]["/predict"]["post"]
    form = endpoint["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["video"]["format"] == "binary"
    assert {"200", "413", "422", "429", "504"} <= set(endpoint["responses"])
    assert "top" in schema["components"]["schemas"]["Answer"]["properties"]
    assert set(schema["components"]["schemas"]["Problem"]["required"]) == {"error", "remedy"}
    # All errors have this form, also those of FastAPI, whose own form a generated client would expect.
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    assert (
        "application/octet-stream"
        in schema["paths"]["/examples/{number}"]["get"]["responses"]["200"]["content"]
    )


def test_an_answer_has_no_pictures_on_request(server: Running, videos: Path) -> None:
    content = (videos / "40.mp4").read_bytes()
    with server.client() as client:
        answer = client.post("/predict?pictures=false", files={"video": content})
        wrong = client.post("/predict?pictures=perhaps", files={"video": content})
    assert wrong.status_code == 422
    assert wrong.json()["error"].startswith("the request has wrong values (pictures: ")
    full = server.send(content).json()
    assert full["shown_frames"]
    assert answer.json() == full | {"shown_frames": [], "video": answer.json()["video"]}
