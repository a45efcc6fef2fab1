"""Work in a fresh process, event by event.

Timings differ more between processes than within one, and a runtime that crashes must not take
what was measured along. So what is timed runs in processes of its own, which hand over every
event and wait until it has been dealt with.
"""

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from devices import LatkitError

P = ParamSpec("P")
T = TypeVar("T")


class ProcessDied(LatkitError):
    """A measuring process ended before its work did."""


def in_fresh_process(
    stream: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs
) -> Generator[T, None, None]:
    """Run a generator function in a new process and yield what it yields, in step.

    The process goes on to the next item only when the next item is asked for. It ends when the
    generator is closed, and with this process, even when this one is killed.

    Args:
        stream: A function of a module, so that the new process can find it.
        *args: For ``stream``; they are pickled.
        **kwargs: For ``stream``.

    Raises:
        LatkitError: Whatever ``stream`` raised of it.
        ProcessDied: The process crashed or was killed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        # not by Process: it waits forever for a child that dies before it has read large arguments
        ours.send((stream, args, kwargs))
        while True:
            ours.send(True)
            item = ours.recv()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    except (EOFError, OSError) as error:
        process.join()
        raise ProcessDied(
            f"the measuring process ended with exit code {process.exitcode}; what was measured "
            "before is kept. Run the same command again to go on"
        ) from error
    finally:
        ours.close()
        process.join()


class _End:
    """The last item: how the stream ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and decides
    try:
        error: LatkitError | None = None
        stream, args, kwargs = pipe.recv()
        try:
            pipe.recv()  # asked for the first item; only then does anything start
            for item in stream(*args, **kwargs):
                pipe.send(item)
                pipe.recv()
        except LatkitError as raised:
            error = raised
        pipe.send(_End(error))
    except (EOFError, OSError):  # the parent is gone, or wants no more
        return
