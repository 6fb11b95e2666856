"""The bounds that fuzz tests are held to."""

import signal
import time

import fuzzing
import pytest


def _busy(seconds: float) -> None:
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass


def test_too_much_time_and_too_much_memory_fail(monkeypatch):
    monkeypatch.setattr(fuzzing, "SECONDS", 0.2)
    with pytest.raises(AssertionError, match=r"more than 0\.2 s of processor time"), fuzzing.bounded():
        _busy(5)
    with pytest.raises(AssertionError, match="took 3 MB"), fuzzing.bounded(2):
        assert len(bytearray(3 * 2**20))
    with fuzzing.bounded(4):
        assert len(bytearray(3 * 2**20))


def test_an_alarm_that_comes_late_ends_nothing(monkeypatch):
    """One that comes while it is taken off set another, for which nobody waited any more: it ended pytest's worker."""
    set_alarm = signal.setitimer

    def late(which: int, seconds: float) -> None:
        set_alarm(which, seconds)
        if not seconds:
            signal.raise_signal(signal.SIGPROF)

    monkeypatch.setattr(signal, "setitimer", late)
    with fuzzing.bounded():
        pass
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert callable(signal.getsignal(signal.SIGPROF))
    signal.raise_signal(signal.SIGPROF)
