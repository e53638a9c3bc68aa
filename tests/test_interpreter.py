"""A worker's settings of the interpreter hold while it runs, and no longer."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress

from batchctl.interpreter import many_small_things


def test_settings_come_and_go() -> None:
    before = sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()
    with suppress(KeyError), many_small_things():
        assert sys.getswitchinterval() < before[0]
        assert gc.get_threshold()[0] > before[1][0]
        assert gc.get_freeze_count() > before[2]
        raise KeyError
    assert (sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()) == before
