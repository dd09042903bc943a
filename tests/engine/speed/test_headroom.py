"""The sentence about loading and computing names the limit, its stage and a remedy for this machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from slowfast.engine.speed.headroom import Cores, Headroom, HeadroomMonitor, StepTimes, estimate_step
from slowfast.timing.stage_times import StageTimes

EIGHT_CORES = Cores(8)
# Ten seconds of one worker per hundred batches; decoding is 71 % of it.
LOADING = StageTimes(reading=0.01, decoding=0.071, transforming=0.01, collating=0.005, copying=0.004)


def headroom(
    compute: float, *, workers: int, cores: Cores = EIGHT_CORES, step: float | None = None
) -> Headroom:
    step = estimate_step(compute, LOADING, workers) if step is None else step
    return Headroom(compute, step, LOADING, workers, cores)


def test_loading_limits_and_so_many_more_workers_would_hide_it() -> None:
    # One batch per 0.05 s of two workers; three bring one per 0.033 s, four one per 0.025 s.
    line = "compute {} s, with loading 0.05 s: loading limits (decoding 71 % of it); {} would hide it"
    assert headroom(0.035, workers=2).describe() == line.format("0.035", "1 more worker")
    assert headroom(0.026, workers=2).describe() == line.format("0.026", "2 more workers")
    assert headroom(0.014, workers=2).workers_needed == 8


def test_as_many_workers_as_needed_hide_the_loading() -> None:
    """The formula agrees with the times that it is about."""
    for compute in (0.011, 0.02, 0.03, 0.049, 0.2):
        needed = headroom(compute, workers=1).workers_needed
        assert headroom(compute, workers=needed).step == pytest.approx(compute)
        assert needed == 1 or headroom(compute, workers=needed - 1).step > compute


def test_compute_limits() -> None:
    text = headroom(0.1, workers=2).describe()
    assert text == "compute 0.1 s, with loading 0.1 s: compute limits; 2 workers can load a batch per 0.05 s"


def test_loading_that_is_just_fast_enough_is_balanced() -> None:
    assert headroom(0.053, workers=2).describe().endswith("balanced; 2 workers can load a batch per 0.05 s")


def test_the_stage_that_limits_is_named() -> None:
    for stage in ("reading", "decoding", "transforming", "collating", "copying"):
        loading = replace(StageTimes(0.01, 0.01, 0.01, 0.01, 0.01), **{stage: 0.06})
        text = Headroom(0.01, 0.1, loading, 1, Cores(16)).describe()
        assert f"loading limits ({stage} 60 % of it); 9 more workers would hide it" in text


def test_a_copy_that_takes_longer_than_a_batch_is_named() -> None:
    text = Headroom(0.03, 0.06, LOADING, 8, Cores(16), device_copy=0.02).describe()
    assert "loading limits (copying to the device 0.02 s)" in text


def test_no_more_workers_are_advised_than_the_machine_has_cores() -> None:
    text = headroom(0.01, workers=4, cores=Cores(4)).describe()
    assert text.endswith(
        "; more workers would not help: the machine has only 4 cores per process: make the videos small "
        "(slowfast prepare resize), or cache the features of a frozen backbone (DATA.FEATURES)"
    )
    shorter = headroom(0.01, workers=2, cores=Cores(4)).describe()
    assert "; 2 more workers would shorten it, but the machine has only 4 cores per process: make" in shorter


def test_the_remedy_fits_the_stage() -> None:
    few = {"workers": 1, "cores": Cores(1)}
    near = Headroom(0.01, 0.1, StageTimes(reading=0.1), **few).describe()
    assert "copy the files to a local disk, or cache the features" in near
    assert "load fewer or smaller frames" in Headroom(0.01, 0.1, StageTimes(collating=0.1), **few).describe()


def test_a_model_on_the_cpu_takes_cores_from_the_workers() -> None:
    assert headroom(0.05, workers=1, cores=Cores(4, 2)).describe().endswith("1 more worker would hide it")
    text = headroom(0.05, workers=1, cores=Cores(2, 2)).describe()
    assert "only 2 cores per process, of which the model keeps 2 busy: make the videos small" in text


def test_a_process_that_loads_by_itself_is_told_so() -> None:
    text = headroom(0.06, workers=0).describe()
    assert text.startswith("compute 0.06 s, with loading 0.16 s: loading limits (decoding 71 % of it), in ")
    assert text.endswith("the training process itself (DATA_LOADER.NUM_WORKERS 0); 2 workers would hide it")
    text = headroom(2.0, workers=0).describe()
    assert "compute limits; loading is 0.1 s of it, in the training process itself" in text


def test_cached_features_are_not_to_be_cached_again() -> None:
    loading = StageTimes(reading=0.1, collating=0.01)
    cached = Headroom(0.01, 0.11, loading, workers=1, cores=Cores(1), is_cached=True)
    assert "keep the features on a faster disk" in cached.describe()
    assert "frozen backbone" not in cached.describe()


def test_a_wait_that_more_workers_would_not_shorten() -> None:
    text = headroom(0.05, workers=4, step=0.08).describe()
    assert "loading limits" not in text
    assert "waits for data, although 4 workers can load a batch per 0.025 s: for their start, " in text
    text = headroom(0.06, workers=2, cores=Cores(2, computing=1), step=0.08).describe()
    assert text.endswith("2 workers can load a batch per 0.05 s: they and the model share 2 cores")


def test_the_values_are_numbers_and_words_for_json() -> None:
    stats = json.loads(json.dumps(headroom(0.035, workers=2).stats()))
    assert stats["_type"] == "headroom"
    assert (stats["compute"], stats["with_loading"]) == (0.035, pytest.approx(0.05))
    assert (stats["limit"], stats["limiting_stage"], stats["load_decoding"]) == ("loading", "decoding", 0.071)
    assert (stats["workers"], stats["workers_needed"], stats["cores"]) == (2, 3, 8)


def test_the_monitor_averages_the_steps_after_those_loaded_in_advance() -> None:
    batches = 0

    def times() -> StageTimes:
        return StageTimes(decoding=0.3 * batches)

    monitor = HeadroomMonitor(times, workers=2, cores=Cores(4), is_cached=False)
    found = []
    for step in range(60):
        batches += 1
        # The first five steps are slow and have their batches at once; they must not count.
        found.append(monitor.observe(StepTimes(0.0, 9.0) if step < 5 else StepTimes(0.05, 0.1)))
    (result,) = [one for one in found if one is not None]
    assert found.index(result) == 24  # 1 + 2 × 2 skipped, 20 averaged
    assert (result.compute, result.step) == (pytest.approx(0.1), pytest.approx(0.15))
    assert result.loading.decoding == pytest.approx(0.3)
