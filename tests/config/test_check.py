"""Checks of a whole configuration: impossible values are refused with key, value and remedy."""

from __future__ import annotations

import pytest
from fvcore.common.config import CfgNode

from slowfast.config.check import check
from tests.support.configs import problems_of, set_keys


def test_the_defaults_with_data_files_have_no_problem(cfg: CfgNode) -> None:
    assert check(cfg, for_run=True) == []


@pytest.mark.parametrize(
    "key",
    ["SOLVER.BASE_LR", "VTN.LONGFORMER.POSITION", "SOLVER.LR_POLICY", "SOLVER.OPTIMIZING_METHOD",
     "TRAIN.PRECISION", "NUM_GPUS"],
)  # fmt: skip
def test_a_very_long_value_does_not_hide_the_remedy(key: str) -> None:
    """A block of YAML that is indented wrongly becomes the value of the key above it."""
    (problem,) = problems_of("QUICKSTART", key, "x" * 10_000)
    assert problem.startswith(f"{key} ")
    assert "xxx … (10,002 characters): must be " in problem
    assert len(problem) < 500


@pytest.mark.parametrize(
    ("values", "key", "remedy"),
    [
        ({"DATA__TRAIN_CROP_SIZE": 257}, "DATA.TRAIN_CROP_SIZE = 257", "smaller crop or larger scales"),
        ({"DATA__TRAIN_JITTER_SCALES": [320, 256]}, "DATA.TRAIN_JITTER_SCALES", "such as [256, 320]"),
        ({"DATA__TRAIN_JITTER_SCALES": []}, "DATA.TRAIN_JITTER_SCALES", "such as [256, 320]"),
        (
            {"DATA__TEST_CROP_SIZE": 257, "TEST__NUM_SPATIAL_CROPS": 1},
            "DATA.TEST_CROP_SIZE = 257",
            "smaller crop",
        ),
        ({"TEST__NUM_SPATIAL_CROPS": 0}, "TEST.NUM_SPATIAL_CROPS = 0", "1 or more"),
        ({"DATA__PATH_LABEL_SEPARATOR": "::"}, "DATA.PATH_LABEL_SEPARATOR = '::'", "such as ' '"),
        ({"TRAIN__EVAL_FULL_VIDEO": True}, "TEST.NUM_ENSEMBLE_VIEWS = 10", "TRAIN.EVAL_FULL_VIDEO False"),
        ({"OUTPUT_DIR": "out/a\0b"}, r"OUTPUT_DIR = 'out/a\x00b'", "must not contain a zero byte; remove it"),
        ({"TRAIN__BATCH_SIZE": 0}, "TRAIN.BATCH_SIZE = 0", "1 or more"),
        ({"DATA__MEAN": [0.5]}, "DATA.MEAN = [0.5]", "three"),
        ({"DATA__STD": [0.2, 0.2, 0.0]}, "DATA.STD", "above 0"),
        ({"DATA__STD": [0.2, 0.2, float("inf")]}, "DATA.STD", "fractions of full brightness"),
        ({"DATA__MEAN": [0.5, 0.5, float("nan")]}, "DATA.MEAN", "fractions of full brightness"),
        ({"DATA__INPUT_CHANNEL_NUM": [1]}, "DATA.INPUT_CHANNEL_NUM = [1]", "use [3]"),
        ({"DATA__PATH_LABEL_SEPARATOR": ""}, "DATA.PATH_LABEL_SEPARATOR", "between path and label"),
        ({"DATA__MAX_BROKEN_FRACTION": 1.5}, "DATA.MAX_BROKEN_FRACTION = 1.5", "0 to 1"),
        ({"DATA__MULTI_LABEL": True}, "MODEL.LOSS_FUNC = 'cross_entropy'", "bce_logit"),
        (
            {"DATA__MULTI_LABEL": True, "MODEL__LOSS_FUNC": "bce_logit"},
            "MODEL.HEAD_ACT = 'softmax'",
            "use sigmoid",
        ),
        ({"MODEL__LOSS_FUNC": "bce_logit"}, "MODEL.LOSS_FUNC = 'bce_logit'", "use cross_entropy"),
        ({"MIXUP__ENABLE": True}, "MODEL.LOSS_FUNC = 'cross_entropy'", "use soft_cross_entropy"),
        (
            {
                "MIXUP__ENABLE": True,
                "MODEL__LOSS_FUNC": "soft_cross_entropy",
                "MIXUP__ALPHA": 0.0,
                "MIXUP__CUTMIX_ALPHA": 0.0,
            },
            "MIXUP.ALPHA = 0",
            "MIXUP.ENABLE False",
        ),
        ({"TRAIN__BEST_METRIC": "auroc"}, "TRAIN.BEST_METRIC = 'auroc'", "use balanced_acc"),
        ({"TRAIN__BEST_METRIC": "map"}, "TRAIN.BEST_METRIC = 'map'", "use balanced_acc"),
        ({"TRAIN__BEST_METRIC": "accuracy"}, "TRAIN.BEST_METRIC = 'accuracy'", "top1_err"),
        ({"TRAIN__PATIENCE": -1}, "TRAIN.PATIENCE = -1", "0 or more"),
        ({"TEST__WEIGHTS": "ema"}, "TEST.WEIGHTS = 'ema'", "last, best"),
        ({"TEST__GROUP_BY": "("}, "TEST.GROUP_BY = '('", "regular expression"),
        ({"LOSS__LABEL_SMOOTHING": 1.0}, "LOSS.LABEL_SMOOTHING = 1.0", "less than 1"),
        ({"LOSS__LOGIT_ADJUSTMENT": -1.0}, "LOSS.LOGIT_ADJUSTMENT = -1.0", "0 or more"),
        ({"LOSS__ARGS__gamma": 2.0}, "LOSS.ARGS.gamma = 2.0", "cross_entropy, which takes nothing"),
        ({"LOSS__CLASS_WEIGHTS": "given"}, "LOSS.CLASS_WEIGHT_ARGS = {}", "must contain weights"),
        (
            {"LOSS__CLASS_WEIGHTS": "given", "LOSS__CLASS_WEIGHT_ARGS__weights": [1.0, 2.0]},
            "LOSS.CLASS_WEIGHT_ARGS.weights = [1.0, 2.0]",
            "400 positive numbers",
        ),
        (
            {"LOSS__CLASS_WEIGHTS": "effective_number", "LOSS__CLASS_WEIGHT_ARGS__beta": 1.0},
            "LOSS.CLASS_WEIGHT_ARGS.beta = 1.0",
            "less than 1",
        ),
        (
            {"MIXUP__ENABLE": True, "MODEL__LOSS_FUNC": "soft_cross_entropy", "LOSS__LABEL_SMOOTHING": 0.1},
            "LOSS.LABEL_SMOOTHING = 0.1",
            "MIXUP.LABEL_SMOOTH_VALUE instead",
        ),
        ({"MIXUP__PROB": 2.0}, "MIXUP.PROB = 2.0", "0 to 1"),
        ({"AUG__AA_TYPE": "augmix-m5"}, "AUG.AA_TYPE = 'augmix-m5'", "such as rand-m9-mstd0.5-inc1"),
        ({"AUG__NUM_SAMPLE": 2}, "AUG.NUM_SAMPLE = 2", "AUG.ENABLE True"),
        ({"DATA__TRAIN_JITTER_NUM_FRAMES": [9, 8]}, "DATA.TRAIN_JITTER_NUM_FRAMES = [9, 8]", "use []"),
        ({"DATA__TRAIN_JITTER_NUM_FRAMES": [7.5, 8]}, "DATA.TRAIN_JITTER_NUM_FRAMES = [7.5, 8]", "[12, 16]"),
        ({"DATA__TRAIN_JITTER_DURATION": [0.5, 1.0]}, "DATA.TRAIN_JITTER_DURATION", "TRAIN.FULL_VIDEO True"),
        (
            {"SOLVER__LR_FACTORS": {"backbone": {"blocks": 0}}},
            "SOLVER.LR_FACTORS.backbone.blocks = 0",
            "above 0",
        ),
        ({"AUG__RE_MODE": "black"}, "AUG.RE_MODE = 'black'", "pixel, rand, const"),
        (
            {"DATA__TRAIN_JITTER_SCALES_RELATIVE": [0.5, 1.5]},
            "DATA.TRAIN_JITTER_SCALES_RELATIVE = [0.5, 1.5]",
            "at most 1",
        ),
        ({"DATA__TRAIN_JITTER_ASPECT_RELATIVE": [2.0]}, "DATA.TRAIN_JITTER_ASPECT_RELATIVE = [2.0]", "least"),
        ({"DATA__IMAGE_FPS": 0.0}, "DATA.IMAGE_FPS = 0.0", "frame rate of the images"),
        ({"DATA__NORMALIZATION": "imagenet"}, "DATA.NORMALIZATION = 'imagenet'", "data, backbone"),
        ({"DATA__DECODING_BACKEND": "cv2"}, "DATA.DECODING_BACKEND = 'cv2'", "pyav"),
        ({"DATA__ENSEMBLE_METHOD": "mean"}, "DATA.ENSEMBLE_METHOD = 'mean'", "sum, max"),
        ({"MODEL__DROPOUT_RATE": 1.0}, "MODEL.DROPOUT_RATE = 1.0", "less than 1"),
        ({"SOLVER__BASE_LR": 0.0}, "SOLVER.BASE_LR = 0.0", "above 0"),
        ({"SOLVER__BETAS": [0.9]}, "SOLVER.BETAS = [0.9]", "[0.9, 0.999]"),
        ({"SOLVER__LAYER_DECAY": 0.0}, "SOLVER.LAYER_DECAY = 0.0", "at most 1"),
        ({"SOLVER__CLIP_GRAD_VAL": 0.0}, "SOLVER.CLIP_GRAD_VAL = 0.0", "None for no clipping"),
        (
            {"SOLVER__CLIP_GRAD_VAL": 1.0, "SOLVER__CLIP_GRAD_L2NORM": 1.0},
            "SOLVER.CLIP_GRAD_VAL = 1.0",
            "None",
        ),
        (
            {"SOLVER__COSINE_AFTER_WARMUP": True, "SOLVER__WARMUP_EPOCHS": 300.0},
            "SOLVER.WARMUP_EPOCHS = 300.0",
            "fewer than",
        ),
        (
            {"SOLVER__BASE_LR": 0.0005, "SOLVER__WARMUP_EPOCHS": 0.5},
            "SOLVER.WARMUP_START_LR = 0.01: must be at most SOLVER.BASE_LR = 0.0005",
            "use 5e-06, or SOLVER.WARMUP_EPOCHS 0",
        ),
        ({"NUM_SHARDS": 2, "SHARD_ID": 2}, "SHARD_ID = 2", "0 to NUM_SHARDS - 1 = 1"),
        ({"SHARD_ID": -1}, "SHARD_ID = -1", "own rank"),
        ({"NUM_GPUS": -1}, "NUM_GPUS = -1", "0 or more"),
        ({"DIST_BACKEND": "mpi"}, "DIST_BACKEND = 'mpi'", "nccl, gloo"),
    ],
)
def test_an_impossible_value_is_refused_with_key_and_remedy(
    cfg: CfgNode, values: dict, key: str, remedy: str
) -> None:
    set_keys(cfg, **values)
    (problem,) = check(cfg)
    assert problem.startswith(key)
    assert remedy in problem


@pytest.mark.parametrize(
    ("steps", "rates", "key"),
    [
        ([], [], "SOLVER.STEPS = []"),
        ([5, 13], [1, 0.1], "SOLVER.STEPS = [5, 13]"),
        ([0, 13, 13], [1, 0.1, 0.01], "SOLVER.STEPS = [0, 13, 13]"),
        ([0, 24, 13], [1, 0.1, 0.01], "SOLVER.STEPS = [0, 24, 13]"),
        ([0, 13], [1], "SOLVER.LRS = [1]"),
        ([0, 13], [1, 0], "SOLVER.LRS = [1, 0]"),
    ],
)
def test_steps_and_learning_rates_must_match(cfg: CfgNode, steps: list, rates: list, key: str) -> None:
    set_keys(cfg, SOLVER__LR_POLICY="steps_with_relative_lrs", SOLVER__STEPS=steps, SOLVER__LRS=rates)
    (problem,) = check(cfg)
    assert problem.startswith(key)


def test_a_warm_up_may_start_at_the_base_learning_rate_and_not_above_it(cfg: CfgNode) -> None:
    """Nodes multiply both rates alike, and without a warm-up the start is not used."""
    set_keys(cfg, SOLVER__BASE_LR=0.01, SOLVER__WARMUP_EPOCHS=0.5, SOLVER__BASE_LR_SCALE_NUM_SHARDS=True)
    assert check(cfg) == []
    cfg.SOLVER.BASE_LR = 0.009
    assert len(check(cfg)) == 1
    cfg.SOLVER.WARMUP_EPOCHS = 0.0
    assert check(cfg) == []


def test_switched_off_parts_are_not_checked(cfg: CfgNode) -> None:
    set_keys(cfg, TRAIN__ENABLE=False, DATA__TRAIN_CROP_SIZE=999, SOLVER__BASE_LR=0.0)
    set_keys(cfg, MIXUP__ENABLE=True, MODEL__LOSS_FUNC="soft_cross_entropy")
    assert check(cfg) == []


def test_the_arguments_of_the_loss_are_checked_for_a_test_alone(cfg: CfgNode) -> None:
    set_keys(cfg, TRAIN__ENABLE=False, MODEL__LOSS_FUNC="focal", LOSS__ARGS__gama=2.0)
    (problem,) = check(cfg)
    assert problem == "LOSS.ARGS.gama = 2.0: must be a parameter of focal, which takes gamma"
    cfg.TEST.ENABLE = False
    assert check(cfg) == []


def test_several_test_crops_are_not_limited_by_the_training_scales(cfg: CfgNode) -> None:
    set_keys(cfg, TRAIN__ENABLE=False, DATA__TEST_CROP_SIZE=312)
    assert check(cfg) == []
    cfg.TRAIN.ENABLE = True  # validation uses a single crop
    assert check(cfg)[0].startswith("DATA.TEST_CROP_SIZE = 312")


def test_whole_pictures_are_one_view_of_the_size_of_the_crop(cfg: CfgNode) -> None:
    set_keys(cfg, TRAIN__ENABLE=False, DATA__TEST_WHOLE_PICTURE=True, TEST__NUM_SPATIAL_CROPS=1)
    set_keys(cfg, DATA__TEST_CROP_SIZE=512)  # no crop is cut from frames of the training scale
    assert check(cfg) == []
    cfg.TEST.NUM_SPATIAL_CROPS = 3
    assert check(cfg)[0].startswith("TEST.NUM_SPATIAL_CROPS = 3: must be 1 where DATA.TEST_WHOLE_PICTURE")
    cfg.TEST.NUM_SPATIAL_CROPS = 1
    cfg.DATA.ORIGINAL_SEMANTICS = True
    assert check(cfg)[0].startswith("DATA.TEST_WHOLE_PICTURE = True: must be False where DATA.ORIGINAL")
    set_keys(cfg, DATA__ORIGINAL_SEMANTICS=False, DATA__TEST_PICTURE_MULTIPLE=14)
    assert check(cfg)[0].startswith("DATA.TEST_CROP_SIZE = 512: must be a multiple of DATA.TEST_PICTURE_MULT")
    assert check(cfg)[0].endswith("use 504")
    set_keys(cfg, DATA__TEST_PICTURE_MULTIPLE=0, TEST__DATASET="features")
    assert check(cfg)[0].startswith("DATA.TEST_WHOLE_PICTURE = True: needs pixels, and TEST.DATASET = 'feat")


def test_views_are_not_checked_without_a_test(cfg: CfgNode) -> None:
    set_keys(cfg, TEST__ENABLE=False, TRAIN__EVAL_FULL_VIDEO=True)
    assert check(cfg) == []
