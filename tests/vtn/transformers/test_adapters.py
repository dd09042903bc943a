"""LoRA adapters of PEFT on a model of this package."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from packaging.version import Version
from transformers import AutoModelForVideoClassification
from transformers.integrations.peft import MIN_PEFT_VERSION

from slowfast.errors import InputError
from tests.support.tiny_models import CLASSES, random_features, tiny

ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors"}
LORA = peft.LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=["mlp_head"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny(hidden_dropout=0.0, attention_dropout=0.0, dropout_rate=0.0).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_adapters_are_trained_saved_loaded_and_merged(folder: Path, tmp_path: Path) -> None:
    model = peft.get_peft_model(AutoModelForVideoClassification.from_pretrained(folder), LORA)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained
    assert all("lora_" in name or "mlp_head" in name for name in trained)

    features, labels = random_features(), torch.tensor([0, CLASSES - 1])
    before = model(features=features).logits.detach()
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)
    losses = []
    for _ in range(5):
        loss = model(features=features, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]

    model.eval()
    after = model(features=features).logits
    assert not torch.allclose(after, before)
    model.save_pretrained(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} >= ADAPTER_FILES
    assert not (tmp_path / "adapter" / "model.safetensors").exists()

    base = AutoModelForVideoClassification.from_pretrained(folder)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(loaded(features=features).logits, after)

    merged = loaded.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    again = AutoModelForVideoClassification.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(again(features=features).logits, after, atol=1e-5, rtol=1e-5)


def test_a_folder_of_adapters_names_the_way_to_load_it(folder: Path, tmp_path: Path) -> None:
    model = peft.get_peft_model(AutoModelForVideoClassification.from_pretrained(folder), LORA)
    assert model.peft_config["default"].base_model_name_or_path == str(folder)
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match=r"has adapters of PEFT; load the model, then peft\.PeftModel"):
        AutoModelForVideoClassification.from_pretrained(tmp_path / "adapter")


@pytest.mark.skipif(
    Version(peft.__version__) < Version(MIN_PEFT_VERSION), reason="this transformers needs a newer peft"
)
def test_adapters_that_transformers_adds_are_saved_alone(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForVideoClassification.from_pretrained(folder)
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False))
    model.save_pretrained(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == ADAPTER_FILES
