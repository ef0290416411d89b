"""A column that batch does not know is answered with the one that was meant, if one is near."""

import pytest

from mdp_lite.batch.columns import READERS, read_values
from mdp_lite.batch.work import MAX_ERROR_LENGTH
from mdp_lite.names import BadInput

WRONG = {
    "strenght": "strength", "guidance-scale": "guidance_scale", "guidance": "guidance_scale",
    "t-max": "t_max", "Prompts": "prompts", "sourceprompt": "source_prompt", "imgae": "image",
    "negative": "negative_prompt", "varient": "variant", "zzz": None, "x": None,
}  # fmt: skip


@pytest.mark.parametrize("wrong, meant", WRONG.items())
def test_a_wrong_column_gets_a_suggestion(wrong: str, meant: str | None) -> None:
    with pytest.raises(BadInput) as caught:
        read_values({"image": "a.png", wrong: "1"})
    said = str(caught.value)
    assert len(said) <= 2 * MAX_ERROR_LENGTH and all(name in said for name in READERS)
    hint = "," if meant is None else f", did you mean {meant}?"
    start = f"unknown column: got {wrong!r}{hint} columns must be among "
    assert said.startswith(start) and len(start) < MAX_ERROR_LENGTH  # a record keeps no more


@pytest.mark.parametrize("name", READERS)
def test_each_column_is_meant_with_a_letter_twice(name: str) -> None:
    wrong = name[:2] + name[1:]
    with pytest.raises(BadInput) as caught:
        read_values({wrong: "1"})
    assert "did you mean" in str(caught.value)
