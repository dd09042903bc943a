"""Loading a configuration: bases, older names of keys, overrides, and all problems in one error."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from slowfast.config import defaults, get_cfg, get_default_config, load_config
from slowfast.config.values import flatten
from slowfast.errors import ConfigError
from tests.support.configs import problems_of

WriteConfig = Callable[..., Path]

SMALL_MODEL = "MODEL: {MODEL_NAME: VTN, ARCH: VIT}\n"


def unfolding(line: str) -> str:
    """Returns a short file whose last line stands for 2 ** 40 values; ``line`` names the one before by *a."""
    lines = (f"a{n}: &a{n} {line.replace('*a', f'*a{n - 1}')}" for n in range(1, 40))
    return "\n".join(["a0: &a0 1", *lines])


@pytest.fixture
def write(tmp_path: Path) -> WriteConfig:
    """Writes a YAML file of that name and content and returns its path."""

    def write_file(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    return write_file


class TestInheritance:
    def test_a_file_overrides_its_base_over_several_folders(self, write: WriteConfig) -> None:
        write("base.yaml", SMALL_MODEL + "DATA: {NUM_FRAMES: 4, SAMPLING_RATE: 2}\nRNG_SEED: 5\n")
        write("more/middle.yaml", "_BASE_: ../base.yaml\nDATA: {NUM_FRAMES: 6}\n")
        top = write("top.yaml", "_BASE_: more/middle.yaml\nRNG_SEED: 7\n")
        cfg = load_config(top)
        assert (cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.RNG_SEED) == (6, 2, 7)

    def test_the_result_is_frozen_and_the_defaults_are_unchanged(self, write: WriteConfig) -> None:
        cfg = load_config(write("a.yaml", SMALL_MODEL + "RNG_SEED: 5\n"))
        with pytest.raises(AttributeError):
            cfg.RNG_SEED = 6
        assert get_default_config().RNG_SEED == 1

    def test_pyslowfasts_name_returns_a_configuration_to_change(self) -> None:
        cfg = get_cfg()
        cfg.merge_from_list(["RNG_SEED", 5])
        assert (cfg.RNG_SEED, get_cfg().RNG_SEED) == (5, 1)
        assert defaults.get_cfg is get_cfg

    def test_a_dumped_configuration_loads_unchanged(self, write: WriteConfig) -> None:
        cfg = load_config(
            "VIT_B_VTN", ["SOLVER.CLIP_GRAD_L2NORM", "1.0", "VTN.BACKBONE.ARGS", "{a: {b: [1, x]}, c: None}"]
        )
        assert load_config(write("dumped.yaml", cfg.dump())) == cfg

    def test_a_circle_of_bases_is_refused_and_shown(self, write: WriteConfig) -> None:
        write("a.yaml", "_BASE_: b.yaml\n")
        write("b.yaml", "RNG_SEED: 1\n_BASE_: c.yaml\n")
        (problem,) = problems_of(write("c.yaml", "_BASE_: a.yaml\n"))
        assert "b.yaml, line 2" in problem
        assert "c.yaml -> a.yaml -> b.yaml -> c.yaml" in problem

    @pytest.mark.parametrize("base", [r'"a\0b"', r'"\ud800"'])
    def test_a_base_that_cannot_be_a_path_is_reported(self, write: WriteConfig, base: str) -> None:
        (problem,) = problems_of(write("a.yaml", f"_BASE_: {base}\n"))
        assert "a.yaml, line 1" in problem
        assert "does not exist; give a path relative to" in problem

    @pytest.mark.parametrize("base", ["nowhere.yaml", "x" * 300])
    def test_a_missing_base_is_reported_with_the_other_problems(self, write: WriteConfig, base: str) -> None:
        problems = problems_of(write("a.yaml", f"_BASE_: {base}\nRNG_SED: 1\n"))
        assert f"{base} does not exist" in problems[0]
        assert "RNG_SED" in problems[1]
        assert len(problems) == 2

    def test_a_base_may_be_a_shipped_configuration(self, write: WriteConfig) -> None:
        """Its file is in the folder of an installation, to which no path of a user leads."""
        cfg = load_config(write("own.yaml", "_BASE_: SMALL_DATA\nMODEL: {NUM_CLASSES: 3}\n"))
        assert (cfg.VTN.INPUT.STANDARDIZE, cfg.MODEL.NUM_CLASSES) == (True, 3)

    def test_a_base_must_be_one_path(self, write: WriteConfig) -> None:
        assert "must be one path" in problems_of(write("a.yaml", "_BASE_: [a, b]\n"))[0]


class TestFiles:
    @pytest.mark.parametrize("name", ["VIT_B_VTN", "VTN/VIT_B_VTN", "vit_b_vtn.yaml"])
    def test_a_shipped_configuration_is_found_by_name(self, name: str) -> None:
        assert load_config(name).VTN.BACKBONE.NAME == "vit_base_patch16_224"

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        assert "is a folder" in problems_of(tmp_path)[0]

    def test_a_syntax_error_names_its_line(self, write: WriteConfig) -> None:
        (problem,) = problems_of(write("a.yaml", "TRAIN:\n  ENABLE: [True\nTEST: {}\n"))
        assert "a.yaml, line 3" in problem
        assert "must be valid YAML" in problem

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            ("- a\n- b\n", "line 1: must be a mapping"),
            ("just text\n", "must be a mapping"),
            ("RNG_SEED: !!python/object/apply:os.getpid []\n", "must be valid YAML"),
            ("TRAIN: &a\n  X: *a\n", "an anchor contains itself"),
            ("TRAIN: &a [*a]\n", "an anchor contains itself"),
            ("TRAIN: " + "[" * 5000, "nested too deeply"),
            (unfolding("{x: *a, y: *a}"), "has more than 100000 values"),
            (unfolding("[*a, *a]"), "has more than 100000 values"),
            ("RNG_SEED: 0x" + "f" * 5000 + "\n", "line 1, column 11: must be valid YAML; an integer of 5002"),
            ("RNG_SEED: 1" + ":10" * 5000 + "\n", "must be valid YAML; an integer of 15001 digits"),
            ("OUTPUT_DIR: " + "x" * 2**20, "has more than 1048576 characters"),
            ("RNG_SEED: \0\n", "must be valid YAML"),
            ("TRAIN:\n  ENABLE: !!bool x\n", "must be valid YAML"),
            ("OUTPUT_DIR: !!timestamp x\n", "must be valid YAML"),
            ("OUTPUT_DIR: 2024-02-30\n", "must be valid YAML; day is out of range"),
        ],
    )
    def test_content_other_than_a_mapping_is_refused(
        self, write: WriteConfig, content: str, what: str
    ) -> None:
        assert what in problems_of(write("a.yaml", content))[0]

    def test_a_binary_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "video.yaml").write_bytes(b"\xff\xfe\x00\x01")
        assert "must be a text file" in problems_of(tmp_path / "video.yaml")[0]

    def test_empty_sections_and_anchors_are_accepted(self, write: WriteConfig) -> None:
        cfg = load_config(
            write(
                "a.yaml",
                SMALL_MODEL + "TRAIN: &part {BATCH_SIZE: 4}\nTEST:\n  <<: *part\nSOLVER:\nDATA: {}\n",
            )
        )
        assert (cfg.TRAIN.BATCH_SIZE, cfg.TEST.BATCH_SIZE) == (4, 4)

    def test_floats_need_no_decimal_point(self, write: WriteConfig) -> None:
        cfg = load_config(write("a.yaml", SMALL_MODEL + "VTN: {BACKBONE: {ARGS: {eps: 1e-5}}}\n"))
        assert cfg.VTN.BACKBONE.ARGS.eps == 1e-5


class TestOlderNames:
    def test_flat_and_nested_keys_may_be_mixed_in_one_file(self, write: WriteConfig) -> None:
        cfg = load_config(
            write(
                "a.yaml",
                SMALL_MODEL + "VTN: {PRETRAINED: False, MLP_DIM: 96, LONGFORMER: {HIDDEN_DIM: 48}}\n",
            )
        )
        assert cfg.VTN.BACKBONE.PRETRAINED is False
        assert (cfg.VTN.HEAD.MLP_DIM, cfg.VTN.LONGFORMER.HIDDEN_DIM) == (96, 48)

    def test_a_flat_key_of_a_file_overrides_a_nested_key_of_its_base(self, write: WriteConfig) -> None:
        write("base.yaml", SMALL_MODEL + "VTN: {LONGFORMER: {HIDDEN_DIM: 48}}\n")
        cfg = load_config(write("top.yaml", "_BASE_: base.yaml\nVTN: {HIDDEN_DIM: 96}\n"))
        assert cfg.VTN.LONGFORMER.HIDDEN_DIM == 96

    def test_different_values_under_both_names_are_refused(self, write: WriteConfig) -> None:
        path = write("a.yaml", SMALL_MODEL + "VTN:\n  HIDDEN_DIM: 48\n  LONGFORMER:\n    HIDDEN_DIM: 96\n")
        (problem,) = problems_of(path)
        assert "line 5" in problem
        assert "contradicts VTN.HIDDEN_DIM" in problem
        assert "line 3" in problem

    def test_pyslowfasts_key_of_class_names_is_accepted(self, write: WriteConfig) -> None:
        older = "TENSORBOARD: {CLASS_NAMES_PATH: a.json}\n"
        assert load_config(write("a.yaml", SMALL_MODEL + older)).DATA.CLASS_NAMES == "a.json"
        (problem,) = problems_of(write("b.yaml", SMALL_MODEL + older + "DATA: {CLASS_NAMES: b.json}\n"))
        assert "contradicts TENSORBOARD.CLASS_NAMES_PATH" in problem

    def test_overrides_may_be_flat(self) -> None:
        cfg = load_config("VIT_B_VTN", ["VTN.PRETRAINED", "False", "VTN.ATTENTION_WINDOW", "32"])
        assert cfg.VTN.BACKBONE.PRETRAINED is False
        assert cfg.VTN.LONGFORMER.ATTENTION_WINDOW == [32]


class TestOverrides:
    def test_every_value_can_be_given_as_an_override(self) -> None:
        cfg = load_config("VIT_B_VTN")
        values = flatten(cfg)
        assert load_config("VIT_B_VTN", {key: str(value) for key, value in values.items()}) == cfg
        assert load_config("VIT_B_VTN", [one for pair in values.items() for one in pair]) == cfg
        assert load_config("VIT_B_VTN", ["OUTPUT_DIR", Path("a/b")]).OUTPUT_DIR == "a/b"

    def test_a_later_override_replaces_an_earlier_one(self) -> None:
        cfg = load_config("VIT_B_VTN", ["SOLVER.BASE_LR", "1", "SOLVER.BASE_LR", "1e-3"])
        assert cfg.SOLVER.BASE_LR == 1e-3

    def test_an_override_replaces_an_invalid_value_of_the_file(self, write: WriteConfig) -> None:
        path = write("a.yaml", SMALL_MODEL + "VTN: {ATTENTION_WINDOW: 17}\n")
        assert load_config(path, ["VTN.ATTENTION_WINDOW", "16"]).VTN.LONGFORMER.ATTENTION_WINDOW == [16]

    def test_text_is_not_converted_to_a_number(self) -> None:
        overrides = {"OUTPUT_DIR": "2024", "DATA.PATH_PREFIX": "", "TRAIN.DATASET": "1e3"}
        cfg = load_config("VIT_B_VTN", {**overrides, "DATA.PATH_LABEL_SEPARATOR": "','"})
        assert (cfg.OUTPUT_DIR, cfg.DATA.PATH_PREFIX, cfg.DATA.PATH_LABEL_SEPARATOR) == ("2024", "", ",")
        assert cfg.TRAIN.DATASET == "1e3"

    def test_a_free_mapping_accepts_any_key(self) -> None:
        cfg = load_config(
            "VIT_B_VTN",
            ["VTN.BACKBONE.ARGS", "{img_size: 64, deep: {er: 1}}", "VTN.BACKBONE.ARGS.deep.down", "[1, x]"],
        )
        assert cfg.VTN.BACKBONE.ARGS == {"img_size": 64, "deep": {"er": 1, "down": [1, "x"]}}

    def test_overrides_that_are_not_pairs_are_refused(self) -> None:
        (problem,) = problems_of("VIT_B_VTN", "RNG_SEED")
        assert "write KEY VALUE" in problem

    @pytest.mark.parametrize("key", ["RNG_SEED", "VTN.BACKBONE.ARGS.img_size", "TRAIN.MIXED_PRECISION"])
    def test_keys_and_values_joined_by_a_sign_are_refused_with_the_right_form(self, key: str) -> None:
        """A pair of them would otherwise be a key with a value, which a free section takes."""
        (problem,) = problems_of("VIT_B_VTN", f"{key}=3", "TRAIN.BATCH_SIZE=4", "TEST.DATASET", "a=b")
        assert problem.endswith(f"must be written without =, as {key} 3 TRAIN.BATCH_SIZE 4")

    def test_a_missing_value_is_the_only_problem(self) -> None:
        """The others are found only when the overrides are known."""
        (problem,) = problems_of("VIT_B_VTN", "DATA.PATH_TO_DATA_DIR", "/nowhere", "SOLVER.MAX_EPOCH")
        assert "SOLVER.MAX_EPOCH has no value" in problem


class TestProblems:
    def test_an_unknown_key_gets_a_suggestion_and_its_line(self, write: WriteConfig) -> None:
        (problem,) = problems_of(write("a.yaml", SMALL_MODEL + "TRAIN:\n  BATCH_SIZ: 4\n"))
        assert problem.startswith("TRAIN.BATCH_SIZ (")
        assert "a.yaml, line 3" in problem
        assert "TRAIN.BATCH_SIZE" in problem

    @pytest.mark.parametrize(
        ("key", "suggestion"),
        [
            ("train.batch_size", "did you mean TRAIN.BATCH_SIZE?"),
            ("BASE_LR", "did you mean SOLVER.BASE_LR?"),
            ("TRAIN.BASE_LR", "did you mean SOLVER.BASE_LR?"),
            ("SOVLER.MOMENTUM", "did you mean SOLVER.MOMENTUM?"),
            ("TRIAN", "did you mean TRAIN?"),
            ("VTN.HIDEN_DIM", "VTN.HIDDEN_DIM"),
            ("QQQ.ZZZ", "see slowfast/config/defaults and the config of each project"),
        ],
    )
    def test_an_unknown_key_gets_the_nearest_key(self, key: str, suggestion: str) -> None:
        assert suggestion in problems_of("VIT_B_VTN", key, "1")[0]

    def test_nearest_keys_are_searched_for_the_first_unknown_ones_only(self, write: WriteConfig) -> None:
        """A search takes milliseconds, and a file that is not a configuration may have very many keys."""
        problems = problems_of(write("a.yaml", "\n".join(f"SOLVER.MOMENTUM_{n}: 1" for n in range(300))))
        assert sum("did you mean" in problem for problem in problems) == 100
        assert len(problems) == 300

    def test_all_problems_are_reported_together_with_key_value_and_place(self, write: WriteConfig) -> None:
        write("base.yaml", SMALL_MODEL + "VTN:\n  NUM_ATTENTION_HEADS: 7\nTRAIN: {BATCH_SIZE: many}\n")
        path = write("top.yaml", "_BASE_: base.yaml\nDATA:\n  TRAIN_CROP_SIZE: 512\nFOO: 1\n")
        problems = problems_of(path, "SOLVER.MAX_EPOCH", "0", for_run=True)
        text = "\n".join(problems)
        for part in (
            "base.yaml, line 4) = 'many'",
            "FOO (",
            "VTN.LONGFORMER.NUM_ATTENTION_HEADS (",
            "base.yaml, line 3) = 7",
            "DATA.TRAIN_CROP_SIZE (",
            "SOLVER.MAX_EPOCH (override) = 0",
            "DATA.PATH_TO_DATA_DIR = ''",
        ):
            assert part in text
        assert f"{len(problems)} problems in {path}" in str(ConfigError(*problems, source=str(path)))

    def test_the_first_of_thousands_of_problems_are_shown(self) -> None:
        error = ConfigError(*(f"KEY_{number} = 1: must be 2" for number in range(20_000)))
        lines = str(error).splitlines()
        assert (lines[0], lines[50:]) == (
            "20000 problems:",
            ["  - KEY_49 = 1: must be 2", "  … and 19,950 more"],
        )

    def test_an_error_of_another_process_keeps_its_problems(self) -> None:
        error = ConfigError("A = 1: must be 2", "B = 1: must be 3", source="run.yaml")
        received = pickle.loads(pickle.dumps(error))  # noqa: S301 (made in this test)
        assert received.problems == error.problems
        assert str(received) == str(error)

    def test_a_value_of_the_wrong_type_is_one_problem_only(self, tmp_path: Path) -> None:
        problems = problems_of("VIT_B_VTN", "DATA.PATH_TO_DATA_DIR", str(tmp_path), "TRAIN.ENABLE", "maybe")
        assert len(problems) == 1

    def test_a_value_for_a_section_and_a_mapping_for_a_value_are_refused(self, write: WriteConfig) -> None:
        problems = problems_of(write("a.yaml", SMALL_MODEL + "TRAIN: 3\nRNG_SEED: {A: 1}\n"))
        assert "must be a section" in problems[0]
        assert "RNG_SEED" in problems[1]
        assert "whole number" in problems[1]
