# SPDX-License-Identifier: GPL-2.0-only
"""Workers beyond this machine: a cluster of Dask (dask.distributed), used as an Executor.

A worker is started with a slot for each guest that it may run at a time::

    dask worker tcp://SCHEDULER:8786 --nthreads 2 --resources "qemu=2"

It needs this package and what a guest needs (pageless doctor), but no disk shared with us: what it
lacks is lent to it once, and found in its own store from then on.
"""

from __future__ import annotations

import concurrent.futures
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from toolkit.errors import HostError, MissingToolError

T = TypeVar("T")

# What a worker must have free to take an order.
SLOT = "qemu"
# So often an order may lose what was lent for it.
_LOSSES = 4


@dataclass(eq=False)
class Lent:
    """Data for workers, and where it is: with a worker that got it first, and whoever asked that one."""

    data: bytes
    at: Any = None


class Cluster:
    """The workers of one scheduler, for as long as the context lasts; it has `within_s` seconds to answer."""

    def __init__(self, address: str, *, within_s: float = 30.0) -> None:
        try:
            distributed: Any = importlib.import_module("distributed")
        except ImportError:
            raise MissingToolError(
                "dask.distributed is not installed",
                hint="pip install 'pageless[cluster]', or pip install distributed",
            ) from None
        try:
            self._client = distributed.Client(address, timeout=within_s, set_as_default=False)
        except (OSError, ValueError) as error:
            raise HostError(f"no scheduler at {address}: {error}", hint="start one: dask scheduler") from None
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        self.slots = int(sum(worker["resources"].get(SLOT, 0) for worker in workers))
        if not self.slots:
            self._client.close()
            raise HostError(
                f"the scheduler at {address} has no worker with a slot for a guest",
                hint=f'dask worker {address} --nthreads 1 --resources "{SLOT}=1"',
            )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def lend(self, data: bytes) -> Lent:
        """Something to give as an argument, which the function gets as these bytes; sent once a worker."""
        return Lent(data)

    def each(
        self, function: Callable[..., T], orders: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, T | Exception]]:
        """`function(*order)` somewhere for each order: its number and what came of it, as they end.

        An order whose worker dies is given to another one; one that outlives three is an exception.
        What was lent may die with a worker, and all orders for it with that: they are given again.
        """
        executor = self._client.get_executor(pure=False, resources={SLOT: 1})

        def give(number: int) -> concurrent.futures.Future[T]:
            order = (self._sent(one) if isinstance(one, Lent) else one for one in orders[number])
            given: concurrent.futures.Future[T] = executor.submit(function, *order)
            return given

        left = [_LOSSES] * len(orders)
        waiting = {give(number): number for number in range(len(orders))}
        try:
            while waiting:
                done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    number = waiting.pop(future)
                    try:
                        yield number, future.result()
                    except concurrent.futures.CancelledError as error:
                        left[number] -= 1
                        if left[number]:
                            waiting[give(number)] = number
                        else:
                            yield number, error
                    except Exception as error:
                        yield number, error
        finally:
            executor.shutdown(wait=False)

    def _sent(self, lent: Lent) -> Any:
        """What stands for it in an order, with some worker that lives."""
        if lent.at is None or lent.at.status != "finished":
            lent.at = self._client.scatter(lent.data, hash=False)
        return lent.at
