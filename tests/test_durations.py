from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from branchwork.durations import Duration, format_duration, parse_duration, write_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d1h1m1s", 90_061),
        ("500ms", 0.5),
        ("1m250ms", 60.25),
        ("0h5m", 300),
        ("366d", 31_622_400),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "1.5h", "m", "1h 30m", "30m1h", "-5s", "90s\n", "5S", "٣s", "1mm", "1s1s"]
)
def test_what_is_no_duration_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it as 90s, 30m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "0ms", "0h0m", "00s"])
def test_no_time_at_all_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no time at all"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["367d", "366d1s", "9" * 30 + "ms"])
def test_more_than_366_days_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="366d"):
        parse_duration(text)


def test_digits_beyond_all_measure_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("9" * 1_000_000 + "s")


@pytest.mark.parametrize(
    ("seconds", "text"), [(5400, "1h30m"), (59.9, "59s"), (0.4, "0s"), (90_061, "1d1h1m1s")]
)
def test_a_duration_is_shown_in_its_shortest_writing(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("seconds", [0.001, 0.25, 1, 59.5, 5400, 86_400.125])
def test_what_is_written_is_read_back_as_it_was(seconds: float) -> None:
    duration = timedelta(seconds=seconds)

    assert parse_duration(write_duration(duration)) == duration


@pytest.mark.parametrize("value", [5, 1.5, True, None, ["5s"]])
def test_a_bare_number_is_told_to_name_its_unit(value: object) -> None:
    with pytest.raises(ValidationError, match="write it with its unit"):
        TypeAdapter(Duration).validate_python(value)


@pytest.mark.parametrize("value", [timedelta(0), timedelta(days=400), timedelta(seconds=-1)])
def test_python_values_have_the_same_bounds(value: timedelta) -> None:
    with pytest.raises(ValidationError, match="lies between 1ms and 366d"):
        TypeAdapter(Duration).validate_python(value)
