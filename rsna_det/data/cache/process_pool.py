"""Processes that work beside the caller, of which one may be killed without harm to the work of the others."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import ParamSpec, TypeVar

import cv2

from rsna_det.errors import ResourceError

# A process may be killed by chance, for what another program took: a task is tried twice.
_TRIES = 2
# So many tasks in succession whose processes were killed are no coincidence: it is the machine.
_LOST_IN_A_ROW = 3

P = ParamSpec("P")
R = TypeVar("R")


class WorkerKilledError(ResourceError):
    """The process that worked on a task was killed, each time that it was tried."""


class ProcessPool(Executor):
    """An executor like the standard library's, in which a killed process takes no other task with it.

    There, one killed process fails every task that waits, and nobody can say which one was at fault. Here each process
    belongs to a thread that hands it one task at a time: it is that task which is tried again, in a new process and
    while no other is tried again, and then fails with :class:`WorkerKilledError`. Once three in succession have failed
    so, all others fail with :class:`ResourceError`: the machine has too little memory for so many processes.

    Ctrl-C reaches the caller only. Tasks that run are waited for, those that wait are cancelled by
    ``shutdown(cancel_futures=True)``.
    """

    def __init__(self, workers: int) -> None:
        """Start no process yet.

        Args:
            workers: processes at most.
        """
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._own = threading.local()
        self._lock, self._second_try = threading.Lock(), threading.Lock()
        self._processes: set[ProcessPoolExecutor] = set()
        self._lost_in_a_row = 0
        self._closing = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Run a function in a process; its name and arguments can be pickled.

        Returns:
            Its result, or whatever it raises; :class:`WorkerKilledError` or :class:`ResourceError` as described above.
        """
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 (as its base)
        """Let tasks that run come to their end, then end the processes."""
        self._closing = self._closing or cancel_futures
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            process.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _run(self, fn: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object]) -> R:
        if self._lost_in_a_row >= _LOST_IN_A_ROW:
            raise ResourceError(f"{self._killed()}; the same command resumes")
        try:
            result = self._process().submit(fn, *args, **kwargs).result()
        except BrokenProcessPool:
            self._discard()
            result = self._again(fn, args, kwargs)
        self._lost_in_a_row = 0
        return result

    def _again(self, fn: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object]) -> R:
        for _ in range(_TRIES - 1):
            with self._second_try:
                try:
                    if not self._closing:
                        return self._process().submit(fn, *args, **kwargs).result()
                except BrokenProcessPool:
                    self._discard()
        with self._lock:
            self._lost_in_a_row += 1
        raise WorkerKilledError(self._killed())

    def _killed(self) -> str:
        remedy = f"try fewer workers (workers=N, now {self.workers})"
        return f"a worker process was killed, most likely because memory ran out: {remedy}"

    def _process(self) -> ProcessPoolExecutor:
        """The process of this thread."""
        process: ProcessPoolExecutor | None = getattr(self._own, "process", None)
        if process is None:
            _block_interrupts()
            # Spawned, since a fork copies the locks of threads that it does not copy.
            context = multiprocessing.get_context("spawn")
            process = ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker)
            self._own.process = process
            with self._lock:
                self._processes.add(process)
        return process

    def _discard(self) -> None:
        """Part from a process that was killed."""
        process: ProcessPoolExecutor = self._own.process
        self._own.process = None
        process.shutdown()
        with self._lock:
            self._processes.discard(process)


def _block_interrupts() -> None:
    """Processes that this thread starts do not see Ctrl-C, which reaches the whole group, not even as they start."""
    if hasattr(signal, "pthread_sigmask"):
        # Starting multiprocessing's tracker unblocks signals, so it is started first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _start_worker() -> None:
    """Make a worker one thread that leaves Ctrl-C to its parent and does not outlive it."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
