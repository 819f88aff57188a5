import errno
import os
import signal
import threading

import pytest

from curator_assets.storage.bucket import interruption
from curator_assets.storage.bucket.outage import Outage, StoreAwayError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting_of_every_thread(number):
    waits, ended = threading.Semaphore(0), []

    def failing() -> None:
        waits.release()
        raise OSError(errno.EIO, "connection refused")

    def ask() -> None:
        try:
            Outage().asked(failing, "reading a")
        except StoreAwayError as error:
            ended.append(str(error))

    before = signal.signal(number, signal.default_int_handler)
    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        with pytest.raises(KeyboardInterrupt), interruption.heeded():
            for thread in threads:
                thread.start()
            for _ in threads:
                waits.acquire()
            try:
                os.kill(os.getpid(), number)
            finally:
                for thread in threads:
                    thread.join()
    finally:
        signal.signal(number, before)
    expected = "reading a: connection refused; not waited for, since this process is to end"
    assert ended == [expected] * 4


def test_other_signals_and_those_of_before_end_nothing():
    signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with interruption.heeded(), interruption.heeded():
            os.kill(os.getpid(), signal.SIGUSR1)
            interruption.pause(0.1)
            assert not interruption.is_interrupted()
        with pytest.raises(KeyboardInterrupt), interruption.heeded():
            signal.raise_signal(signal.SIGINT)
        assert not interruption.is_interrupted()
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_in_another_thread_it_leaves_signals_alone():
    def enter() -> None:
        with interruption.heeded():
            pass

    with interruption.heeded():
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        fd = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
        assert fd != -1
