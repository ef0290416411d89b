"""The cases of support/openai_cases.py report failed assertions as test modules do."""

import pytest

pytest.register_assert_rewrite("support.openai_cases")
