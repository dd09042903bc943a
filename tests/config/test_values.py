"""Values of files and command lines are converted to the type of their key."""

import pytest
from fvcore.common.config import CfgNode

from slowfast.config.values import convert, parse_literal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("-1", -1),
        ("True", True),
        ("true", True),
        ("None", None),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("(1, 2)", (1, 2)),
        ("[a, b]", ["a", "b"]),
        ("{a: 1}", {"a": 1}),
        ("'3'", "3"),
        ("some/path", "some/path"),
        ("x: [", "x: ["),
        ("", None),
    ],
)
def test_a_literal_is_read_as_python_then_as_yaml_then_as_text(text: str, value: object) -> None:
    assert parse_literal(text) == value


@pytest.mark.parametrize(
    "text", ["2024-02-30", "run_2024", "!!bool x", "!!timestamp x", "!!int x", "{[1]: 2}", "[" * 5000]
)
def test_what_yaml_takes_for_a_value_that_does_not_exist_is_a_text(text: str) -> None:
    """``OUTPUT_DIR 2024-02-30`` ended with a traceback: "day is out of range for month"."""
    assert parse_literal(text) == text


def test_a_literal_executes_no_code() -> None:
    for text in ("__import__('os').getcwd()", "!!python/object/apply:os.getcwd []", "f'{1}'"):
        assert parse_literal(text) == text


@pytest.mark.parametrize(
    ("value", "default", "converted"),
    [
        (1, 0.5, 1.0),
        ("1e-4", 0.5, 1e-4),
        (25.0, 300, 25),
        ("7", 1, 7),
        ([1, 2], [0.5, 0.5, 0.5], [1.0, 2.0]),
        ((1, 2), [3], [1, 2]),
        (18, [4], [18]),
        ([1, 0.1], [], [1, 0.1]),
        (["a", "b"], (), ("a", "b")),
        ("[a, b]", (), ("a", "b")),
        ([], (), ()),
        (None, "", ""),
        (None, None, None),
        (2, None, 2),
        ("None", None, None),
        ("text", "", "text"),
    ],
)
def test_a_value_is_converted_to_the_type_of_the_default(
    value: object, default: object, converted: object
) -> None:
    result = convert(value, default)
    assert result == converted
    assert type(result) is type(converted)


@pytest.mark.parametrize(
    ("value", "default", "message"),
    [
        ("many", 64, "whole number such as 64"),
        (1.5, 64, "whole number"),
        (True, 64, "whole number"),
        (None, 64, "whole number"),
        (float("inf"), 64, "whole number"),
        (float("nan"), 0.1, "number such as 0.1"),
        (False, 0.1, "number"),
        (1, True, "True or False"),
        (3, "kinetics", "text; put it in quotes"),
        (None, "kinetics", "text"),
        (256, [256, 320], r"list such as \[256, 320\]"),
        ([256, "big"], [256, 320], "list"),
        ([1, None], [], "list of numbers"),
        ({"a": 1}, [1], "list"),
        ("small", None, "number or None"),
        (3, CfgNode({"LR": 1.0}), "section; its keys are LR"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_type_it_must_be(
    value: object, default: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        convert(value, default)


def test_a_text_in_place_of_a_list_of_texts_is_shown_in_brackets() -> None:
    with pytest.raises(ValueError, match=r'must be a list of texts such as "\[my_loss\.py\]"'):
        convert("my_loss.py", ())
