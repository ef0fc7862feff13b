"""What a run waits for because it died or never came, told from signs of life alone.

A sign of life is something that changes. The times that servers and workers tell are not
compared with ours: their clocks may be others.
"""

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from typing import Generic, TypeVar

from branchwork.names import host_of_queue, host_queue, labels_of_queue
from branchwork.sights import Activity, Loss, Lost

SUSPECT_SECONDS = 3.0
"""Workers give a sign of life for every attempt each 2 s, later on a busy machine: time to ask."""
STALE_SECONDS = 6.0
"""So long without one, and the worker is taken for lost."""
UNTAKEN_SECONDS = 2.0
"""A free worker takes what waits for it within a fraction of that."""

_Key = TypeVar("_Key", bound=Hashable)


class Signs(Generic[_Key]):
    """Since when each of some things has given no other sign of life."""

    def __init__(self) -> None:
        self._since: dict[_Key, tuple[str, float]] = {}

    def see(self, signs: Mapping[_Key, str], now: float) -> None:
        """The last sign of each that is there; others are forgotten."""
        self._since = {key: (sign, self._unchanged(key, sign, now)) for key, sign in signs.items()}

    def _unchanged(self, key: _Key, sign: str, now: float) -> float:
        known, since = self._since.get(key, ("", now))
        return since if known == sign else now

    def silent(self, now: float, seconds: float) -> set[_Key]:
        return {key for key, (_, since) in self._since.items() if now - since >= seconds}

    def heard(self, after: float, until: float) -> set[_Key]:
        """Those whose last sign came in between."""
        return {key for key, (_, since) in self._since.items() if after < since <= until}


class Hearing:
    """Which workers are heard while one listens: servers list dead ones for minutes."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._workers = Signs[tuple[str, str]]()

    def hear(self, workers: Mapping[tuple[str, str], str], now: float) -> None:
        """The last sign of each (queue, identity) that the server lists."""
        self._workers.see(workers, now)

    def alive(self, queue: str, now: float) -> set[str]:
        """Identities of those on that queue that were heard anew, a moment ago."""
        heard = self._workers.heard(max(self._began, now - STALE_SECONDS), now)
        return {identity for where, identity in heard if where == queue}

    def is_deserted(self, queue: str, now: float) -> bool:
        """Whether one has listened for long enough and hears nobody there."""
        return now - self._began >= STALE_SECONDS and not self.alive(queue, now)


class Watch:
    """What is known of the attempts of one run, and of the workers that are to serve them."""

    def __init__(self) -> None:
        self._activities: Mapping[str, Activity] = {}
        self._signs = Signs[str]()
        self._hearing: Hearing | None = None
        self._gone: frozenset[str] = frozenset()
        """Hosts without a worker, by what was found last."""

    def see(self, activities: Mapping[str, Activity], now: float) -> None:
        self._activities = activities
        self._signs.see({step: activity.sign for step, activity in activities.items()}, now)

    def is_suspicious(self, now: float) -> bool:
        """Whether it is time to ask the run itself, although nothing has happened to it."""
        return bool(self._started(now, SUSPECT_SECONDS))

    def doubted(self, now: float, clock: datetime) -> list[str]:
        """Queues of which it should be known whether a worker serves them; see `hear`."""
        started, untaken = self._started(now, SUSPECT_SECONDS), self._untaken(now, clock)
        asked = [host_queue(_host(a)) for a in started] + [a.queue for a in untaken.values()]
        if not asked:
            self._hearing = None
        return list(dict.fromkeys(asked))

    def hear(self, workers: Mapping[tuple[str, str], str], now: float) -> None:
        """The last sign of each (queue, identity) of the workers that the server lists."""
        self._hearing = self._hearing or Hearing(now)
        self._hearing.hear(workers, now)

    def lost(self, now: float, clock: datetime) -> tuple[Lost, ...]:
        """What attempts miss, of workers; each once."""
        if self._hearing is None:
            self._gone = frozenset()
            return ()
        hosts = _hosts_lost(self._started(now, STALE_SECONDS), self._hearing, now)
        takers = [
            _missing(step, activity)
            for step, activity in self._untaken(now, clock).items()
            if self._is_deserted(activity.queue, self._hearing, now)
        ]
        found = tuple(dict.fromkeys([*hosts, *takers]))
        self._gone = frozenset(one.name for one in found if _is_gone(one))
        return found

    def _is_deserted(self, queue: str, hearing: Hearing, now: float) -> bool:
        if host_of_queue(queue) in self._gone:
            # What the dead worker had was handed on, to the same host at first.
            return not hearing.alive(queue, now)
        return hearing.is_deserted(queue, now)

    def _started(self, now: float, seconds: float) -> list[Activity]:
        silent = self._signs.silent(now, seconds)
        return [a for step, a in self._activities.items() if a.is_started and step in silent]

    def _untaken(self, now: float, clock: datetime) -> dict[str, Activity]:
        silent = self._signs.silent(now, UNTAKEN_SECONDS)
        return {
            step: activity
            for step, activity in self._activities.items()
            if activity.due_at
            and activity.due_at <= clock
            and (step in silent or host_of_queue(activity.queue) in self._gone)
        }


def _hosts_lost(silent: Iterable[Activity], hearing: Hearing, now: float) -> list[Lost]:
    """Hosts whose worker died with attempts that it had."""
    dead: dict[str, set[str]] = {}
    for activity in silent:
        dead.setdefault(_host(activity), set()).add(activity.worker)
    return [
        Lost(loss=Loss.HOST, name=host, is_back=bool(hearing.alive(host_queue(host), now) - those))
        for host, those in dead.items()
    ]


def _missing(step: str, activity: Activity) -> Lost:
    """A busy worker is not a missing one: only a queue that nobody serves counts."""
    host = host_of_queue(activity.queue)
    if host:
        return Lost(loss=Loss.HOST, name=host)
    return Lost(loss=Loss.TAKER, name=step, labels=labels_of_queue(activity.queue))


def _is_gone(lost: Lost) -> bool:
    return lost.loss is Loss.HOST and not lost.is_back


def _host(activity: Activity) -> str:
    """By its heartbeat; of one that died before the first, by the worker's `pid@host`."""
    return activity.pulse.host if activity.pulse else activity.worker.rpartition("@")[2]
