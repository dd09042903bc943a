"""Registries return registered objects and suggest near names for unknown ones."""

from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest

import slowfast
from slowfast.errors import ConfigError, place_of
from slowfast.registry import Project, Registry, projects


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr("slowfast.registry.import_project_modules", lambda: None)
    return Registry("model", "MODEL.MODEL_NAME")


def test_a_name_returns_its_object(registry: Registry) -> None:
    @registry.register()
    class Net:
        pass

    assert registry.register("other")(Net) is Net
    assert registry.get("Net") is registry.get("other") is Net
    assert "Net" in registry
    assert sorted(registry) == ["Net", "other"]


def test_a_registered_class_keeps_its_type() -> None:
    """Type checkers took ``vtn.VTN`` for Any, and a user's backbone for a function."""
    (given,), returned = get_args(get_type_hints(Registry.register)["return"])
    assert given is returned
    assert given not in Registry.__parameters__


def test_an_unknown_name_gets_a_suggestion(registry: Registry) -> None:
    registry.register("SlowFast")(object)
    with pytest.raises(ConfigError, match=r"MODEL.MODEL_NAME = 'SlowFats'.*did you mean SlowFast\?"):
        registry.get("SlowFats")
    with pytest.raises(ConfigError, match="choose one of SlowFast"):
        registry.get("X")


def test_a_name_of_another_framework_gets_its_remedy_until_it_is_registered() -> None:
    registry: Registry = Registry("model", "MODEL.MODEL_NAME", foreign={"mvit": "PTVMViT is version 1"})
    registry.register("PTVMViT")(object)
    with pytest.raises(ConfigError, match=r"'MViT': must be a registered model; PTVMViT is version 1$"):
        registry.get("MViT")
    assert list(registry) == ["PTVMViT"]
    registry.register("MViT")(int)
    assert registry.get("MViT") is int


def test_two_objects_cannot_share_a_name(registry: Registry) -> None:
    registry.register("net")(object)
    registry.register("net")(object)  # the same object again, as after a reload, is accepted
    with pytest.raises(ConfigError, match="is already registered"):
        registry.register("net")(int)


def test_a_decorator_without_parentheses_is_refused(registry: Registry) -> None:
    """The function was not registered, and its name became that of the decorator."""
    decorate: Any = registry.register
    with pytest.raises(ConfigError, match=r"must be registered by @….register\(\), with parentheses"):

        @decorate
        def net() -> None: ...


def test_installed_projects_are_found() -> None:
    assert all(isinstance(project, Project) for project in projects())
    assert "VTN" in [project.name for project in projects()]


def test_projects_of_others_come_last_so_that_they_can_change_the_keys_of_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the order of names alone, a project "Add-on" found no ``cfg.VTN``."""
    other = EntryPoint("add-on", f"{__name__}:ADD_ON", "slowfast.projects")
    vars(other)["dist"] = SimpleNamespace(name="add-on")
    monkeypatch.setattr("slowfast.registry.entry_points", lambda group: [other])
    monkeypatch.setattr(f"{__name__}.ADD_ON", Project("Add-on", lambda cfg: None), raising=False)
    assert [project.name for project in projects.__wrapped__()] == ["Kinetics", "VTN", "Add-on"]


def test_code_in_a_folder_whose_name_begins_like_that_of_the_package_is_the_users() -> None:
    file = f"{Path(slowfast.__file__ or '').parent}_models/mine.py"
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", file, "exec"))
    assert place_of(caught.tb) == f" in {file}, line 1"


def test_the_line_of_a_user_is_named_that_calls_a_project_of_the_checkout_wrongly() -> None:
    project = f"{Path(slowfast.__file__ or '').parents[1]}/projects/vtn/vtn/model.py"
    namespace: dict[str, object] = {}
    exec(compile("def build(): 1 / 0", project, "exec"), namespace)
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("build()", "/home/mine.py", "exec"), namespace)
    assert place_of(caught.tb) == " in /home/mine.py, line 1"
    assert place_of(caught.tb and caught.tb.tb_next and caught.tb.tb_next.tb_next) == f" in {project}, line 1"
