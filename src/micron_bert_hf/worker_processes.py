"""Jobs in worker processes that end with their parent, with one count of what all of them have done."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar


Job = TypeVar("Job")
Result = TypeVar("Result")
_POLL_SECONDS = 0.2


def run_jobs(
    work: Callable[[Job, Callable[[], None]], Result],
    jobs: Sequence[Job],
    num_processes: int,
    advance: Callable[[int], Any],
) -> list[Result]:
    """
    Run every job, here or in worker processes.

    Args:
        work: `work(job, count)`, which calls `count()` for each unit it has done. With more than one process it and
            the jobs are pickled, and the caller's script needs the usual `if __name__ == "__main__":` guard.
        num_processes (`int`): 1 runs them here, one after the other.
        advance: called here with the number of units done since the last call.

    Returns:
        The results in the order of the jobs.

    Raises:
        ChildProcessError: a worker was ended from outside.
        Exception: what `work` raised; jobs that were not begun are not run.
    """
    if num_processes == 1 or len(jobs) < 2:
        return [work(job, lambda: advance(1)) for job in jobs]
    # forking a process in which torch has run threads may hang
    context = multiprocessing.get_context("spawn")
    units_done, is_over = context.Value("q", 0), context.Event()
    executor = ProcessPoolExecutor(
        min(num_processes, len(jobs)), mp_context=context, initializer=_start_worker, initargs=(units_done, is_over)
    )
    counted = 0
    try:
        with _interrupts_held_back():  # processes are started by `submit`
            futures = [executor.submit(_work, work, job) for job in jobs]
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # or raises what the worker raised
            now = units_done.value
            advance(now - counted)
            counted = now
        return [future.result() for future in futures]
    except BaseException as error:
        is_over.set()  # after an error or Ctrl-C nobody waits for what was begun
        if not isinstance(error, BrokenProcessPool):
            raise
        raise ChildProcessError(
            "a worker process was ended from outside, perhaps for lack of memory; what is finished is kept: run again"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """
    A process that is started inside never gets SIGINT: what is held back is inherited. It could not say before it has
    imported everything that it wants none, and until then Ctrl-C would print where its imports were. This process gets
    at the end what came meanwhile.
    """
    if sys.platform == "win32":  # which has no signals to hold back
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# The counter of a worker process, set when it starts; never in the caller's process.
_units_done: Any = None


def _start_worker(units_done: Any, is_over: Any) -> None:
    global _units_done
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides, also on Windows
    end_with_parent()
    threading.Thread(target=_end_after, args=(is_over.wait,), daemon=True).start()
    _units_done = units_done


def end_with_parent() -> None:
    """
    Called in a worker process: it ends when its parent does. A parent that is killed cannot stop its workers, which
    would hold their locks and wait for work for ever.
    """
    threading.Thread(target=_end_after, args=(multiprocessing.parent_process().join,), daemon=True).start()


def _end_after(wait_for: Callable[[], Any]) -> None:
    wait_for()
    os._exit(1)


def _count_unit() -> None:
    with _units_done.get_lock():
        _units_done.value += 1


def _work(work: Callable[[Job, Callable[[], None]], Result], job: Job) -> Result:
    return work(job, _count_unit)
