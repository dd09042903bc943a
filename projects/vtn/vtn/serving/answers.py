"""The contents of answers, as the endpoint documents them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ClassScore(BaseModel):
    """A class and its score."""

    model_config = ConfigDict(populate_by_name=True)

    label: str = Field(alias="class", description="name of the class")
    score: float = Field(description="see `score_activation`")


class Window(BaseModel):
    """The scores of a part of the video, as if it were a video of its own."""

    start: float = Field(description="seconds")
    end: float = Field(description="seconds")
    top: list[ClassScore] = Field(description="the best classes; empty where no frame could be decoded")
    scores: list[float] | None = Field(description="per class, in the order of `classes`")


class FrameAttention(BaseModel):
    """The attention of [CLS] to each frame, rolled out over the layers."""

    seconds: list[float] = Field(description="time of each frame")
    values: list[float] = Field(description="they sum to 1 together with the attention to [CLS] itself")


class ShownFrame(BaseModel):
    """A frame with its picture."""

    seconds: float
    attention: float | None
    jpeg: str = Field(description="JPEG file as base64")


class Answer(BaseModel):
    """The classes of a video."""

    video: str = Field(description="name of the file that was sent")
    seconds: float = Field(description="duration")
    frames: int = Field(description="number of frames that were scored")
    undecodable_frames: int = Field(description="chosen frames that could not be decoded and were left out")
    classes: list[str]
    score_activation: str = Field(
        description="function from logits to scores: with `softmax` the scores of all classes sum to 1, with "
        "`sigmoid` each is between 0 and 1, with `none` they are the logits, of any sign and size"
    )
    top: list[ClassScore] = Field(description="the five best classes, the best first")
    scores: list[float] = Field(description="per class, in the order of `classes`")
    windows: list[Window] = Field(description="scores over time, in the middle crop of the frames")
    attention: FrameAttention | None = Field(
        description="in the middle crop of the frames; null for models without attention to frames"
    )
    shown_frames: list[ShownFrame] = Field(
        description="the frames with the highest attention; evenly spaced ones for models without it; empty "
        "with `pictures=false`"
    )


class Problem(BaseModel):
    """A request that was not answered."""

    error: str
    remedy: str


class Probe(BaseModel):
    """The answer to a probe; its status of HTTP is what counts."""

    status: str = Field(
        description="`ok`; `starting` while a process loads the model, at the start or in place of one that "
        "was lost; `failed` after that was not possible; the next request tries it again"
    )


class Health(Probe):
    """The state of the server."""

    is_ready: bool = Field(description="whether a process with the model waits for videos or scores one")
    model: str
    classes: int
    workers: int
    replaced_workers: int = Field(description="processes that crashed or ran out of time")
    requests: int = Field(description="requests that upload, wait or are computed now")
    queue_length: int
    max_upload_bytes: int
    max_video_seconds: float


class Example(BaseModel):
    """A video to try."""

    number: int
    name: str
