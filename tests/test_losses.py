"""What is said to be lost, from what was seen when."""

from datetime import UTC, datetime, timedelta
from typing import Any

from branchwork.cli.losses import changes, while_cancelling
from branchwork.contract import Pulse
from branchwork.losses import Hearing, Signs, Watch
from branchwork.names import host_queue, step_queue
from branchwork.outcomes import RunReport
from branchwork.sights import Activity, Loss, Lost, Sight

CLOCK = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORKER = Lost(loss=Loss.WORKER)


def running(host: str, sign: str = "beat", **fields: Any) -> Activity:
    pulse = Pulse(host=host, phase="agent")
    return Activity(pulse=pulse, sign=sign, worker=f"1@{host}", queue="branchwork.steps", **fields)


def waiting(queue: str, due_at: datetime = CLOCK) -> Activity:
    return Activity(is_started=False, due_at=due_at, queue=queue, sign="scheduled")


def watched(seconds: float, *workers: tuple[str, str], **activities: Activity) -> Watch:
    """A watch that saw the same activities, and heard `workers` anew each second, for so long."""
    watch = Watch()
    for second in range(int(seconds) + 1):
        watch.see(activities, float(second))
        if watch.doubted(float(second), CLOCK):
            watch.hear({worker: str(second) for worker in workers}, float(second))
    return watch


def sight(*lost: Lost) -> Sight:
    return Sight(report=RunReport(run="r", plan="p", started_at=CLOCK), lost=lost)


def test_whoever_gives_no_other_sign_is_silent_from_the_last_one_on() -> None:
    signs = Signs[str]()

    signs.see({"still": "1", "lively": "1"}, 0)
    signs.see({"still": "1", "lively": "2"}, 4)

    assert signs.silent(6, 5) == {"still"}
    assert signs.silent(6, 7) == set()


def test_whoever_is_not_there_any_more_is_not_silent() -> None:
    signs = Signs[str]()

    signs.see({"gone": "1"}, 0)
    signs.see({}, 4)

    assert signs.silent(100, 1) == set()


def test_workers_that_a_server_only_remembers_are_not_alive() -> None:
    hearing = Hearing(0)

    hearing.hear({("q", "dead"): "1", ("q", "lively"): "1"}, 0)
    hearing.hear({("q", "dead"): "1", ("q", "lively"): "2", ("q", "new"): "1"}, 2)

    assert hearing.alive("q", 2) == {"lively", "new"}
    assert hearing.alive("other", 2) == set()


def test_a_queue_is_deserted_only_after_one_has_listened_for_a_while() -> None:
    hearing = Hearing(0)

    hearing.hear({("q", "dead"): "1"}, 0)
    hearing.hear({("q", "dead"): "1"}, 6)

    assert not hearing.is_deserted("q", 3)
    assert hearing.is_deserted("q", 6)


def test_a_silent_host_is_named_and_one_that_beats_is_not() -> None:
    watch = Watch()
    for second in range(8):
        beats = {"a": running("host-a"), "b": running("host-b", sign=str(second))}
        watch.see(beats, second)
        if watch.doubted(second, CLOCK):
            watch.hear({}, second)

    assert watch.lost(7, CLOCK) == (Lost(loss=Loss.HOST, name="host-a"),)


def test_attempts_are_silent_for_seconds_before_anything_is_said() -> None:
    watch = watched(5, a=running("host-a"))

    assert watch.is_suspicious(5)
    assert watch.lost(5, CLOCK) == ()


def test_a_host_is_lost_once_however_many_attempts_it_had() -> None:
    watch = watched(7, a=running("host-a"), b=running("host-a"))

    assert watch.lost(7, CLOCK) == (Lost(loss=Loss.HOST, name="host-a"),)


def test_a_host_is_back_when_another_worker_serves_its_queue() -> None:
    queue = host_queue("host-a")

    same = watched(8, (queue, "1@host-a"), a=running("host-a"))
    other = watched(8, (queue, "2@host-a"), a=running("host-a"))

    assert same.lost(8, CLOCK) == (Lost(loss=Loss.HOST, name="host-a"),)
    assert other.lost(8, CLOCK) == (Lost(loss=Loss.HOST, name="host-a", is_back=True),)


def test_a_worker_that_died_before_its_first_heartbeat_is_named_by_its_host() -> None:
    watch = watched(7, a=running("host-a").model_copy(update={"pulse": None}))

    assert watch.lost(7, CLOCK) == (Lost(loss=Loss.HOST, name="host-a"),)


def test_a_step_that_nobody_can_take_is_named_and_one_for_busy_workers_is_not() -> None:
    steps = {"a": waiting("branchwork.steps.gpu"), "b": waiting("branchwork.steps")}

    watch = watched(9, ("branchwork.steps", "1@host-a"), **steps)

    assert watch.lost(9, CLOCK) == (Lost(loss=Loss.TAKER, name="a", labels=("gpu",)),)


def test_what_waits_for_one_host_alone_misses_the_worker_of_that_host() -> None:
    watch = watched(9, a=waiting(host_queue("host-a")), b=waiting(host_queue("host-a")))

    assert watch.lost(9, CLOCK) == (Lost(loss=Loss.HOST, name="host-a"),)


def test_a_host_stays_lost_while_what_it_had_is_handed_on_to_it() -> None:
    watch = watched(7, a=running("host-a"))
    before = watch.lost(7, CLOCK)

    watch.see({"a": waiting(host_queue("host-a"))}, 8)
    assert watch.doubted(8, CLOCK) == [host_queue("host-a")]
    watch.hear({}, 8)

    assert before == watch.lost(8, CLOCK) == (Lost(loss=Loss.HOST, name="host-a"),)


def test_a_host_that_is_heard_is_not_lost_while_it_is_handed_what_it_had() -> None:
    watch = watched(7, a=running("host-a"))
    watch.lost(7, CLOCK)
    queue = host_queue("host-a")

    for second in (8, 9):
        watch.see({"a": waiting(queue)}, second)
        watch.doubted(second, CLOCK)
        watch.hear({(queue, "2@host-a"): "alive"}, second)

    assert watch.lost(9, CLOCK) == ()


def test_nobody_is_missed_by_what_waits_for_its_next_try() -> None:
    watch = watched(9, a=waiting("branchwork.steps", CLOCK + timedelta(minutes=1)))

    assert watch.lost(9, CLOCK) == ()


def test_a_loss_and_a_return_are_told_once_each() -> None:
    assert list(changes(sight(), sight(WORKER), "branchwork up")) == [
        "worker lost, waiting for one (`branchwork up` starts one)"
    ]
    assert list(changes(sight(WORKER), sight(WORKER), "branchwork up")) == []
    assert list(changes(sight(WORKER), sight(), "branchwork up")) == ["a worker is back"]


def test_a_host_is_said_to_be_back_only_if_a_worker_of_it_was_heard() -> None:
    gone, back = Lost(loss=Loss.HOST, name="a"), Lost(loss=Loss.HOST, name="a", is_back=True)

    assert list(changes(sight(gone), sight(back), "")) == [
        "a worker is back on a, and soon takes up what the lost one had"
    ]
    assert list(changes(sight(back), sight(), "")) == ["the worker on a is back, the run goes on"]
    assert list(changes(sight(gone), sight(), "")) == ["no step waits for the worker on a any more"]


def test_a_host_that_takes_up_what_it_had_is_back() -> None:
    gone = sight(Lost(loss=Loss.HOST, name="a"))
    goes_on = sight().model_copy(update={"activities": {"s": Activity(queue=host_queue("a"))}})

    assert list(changes(gone, goes_on, "")) == ["the worker on a is back, the run goes on"]


def test_of_a_server_that_is_not_ours_no_command_of_ours_is_said_to_start_it() -> None:
    lost = sight(Lost(loss=Loss.SERVER), Lost(loss=Loss.HOST, name="host-a"))

    assert list(changes(None, lost, "")) == [
        "server lost, waiting for it",
        "worker on host-a lost, waiting for it",
    ]


def test_a_cancel_says_once_what_it_waits_for() -> None:
    waits = "no worker answers; its agents are ended when one is back: branchwork up"

    assert list(while_cancelling(sight(), sight(WORKER), "branchwork up")) == [waits]
    assert list(while_cancelling(sight(WORKER), sight(WORKER), "branchwork up")) == []


def test_a_step_that_no_worker_has_the_labels_for_is_told_with_the_command_that_helps() -> None:
    watch = watched(60, train=waiting(step_queue(("gpu", "linux"))))

    (lost,) = watch.lost(60, CLOCK)

    (told,) = changes(None, sight(lost), "branchwork up")
    assert "no worker takes step train, runs_on: [gpu, linux]" in told
    assert told.endswith("start one with `branchwork worker --label gpu --label linux`")
