"""Readings made into an even series: every defect is handled as documented, and every reading accounted for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.errors import DataError
from tomas.forecast import SeriesReport, clean_series


def lost(report: SeriesReport) -> int:
    return report.not_finite + report.negative + report.future + report.too_old + report.duplicates + report.crowded


def clean(at, values, **options):
    return clean_series(np.array(at, float), np.array(values, float), **options)


def test_even_readings_stay_as_they_are() -> None:
    series = clean([0, 5, 10, 15], [1, 2, 3, 4])
    assert series.values.tolist() == [[1, 2, 3, 4]]
    assert (series.step_s, series.last_s) == (5, 15)
    assert series.report == SeriesReport(read=4, used=4)


def test_nan_infinite_and_negative_readings_are_left_out_and_the_value_before_holds() -> None:
    series = clean([0, 5, 10, 15, 20], [1, float("nan"), float("inf"), -3, 5], step_s=5)
    assert series.values.tolist() == [[1, 1, 1, 1, 5]]
    assert (series.report.not_finite, series.report.negative, series.report.held_points) == (2, 1, 3)


def test_one_bad_channel_spoils_its_reading_only() -> None:
    series = clean([0, 5, 10], [[1, 2, 3], [4, float("nan"), 6]], step_s=5)
    assert series.values.tolist() == [[1, 1, 3], [4, 4, 6]]


def test_late_readings_are_sorted_in() -> None:
    series = clean([0, 10, 5, 15], [1, 3, 2, 4])
    assert series.values.tolist() == [[1, 2, 3, 4]]
    assert (series.report.late, series.report.dropped) == (1, 0)


def test_of_two_readings_of_one_instant_the_later_arrival_counts() -> None:
    series = clean([0, 5, 5, 10], [1, 2, 7, 3])
    assert series.values.tolist() == [[1, 7, 3]]
    assert series.report.duplicates == 1


def test_a_clock_set_forward_is_seen_by_now() -> None:
    series = clean([0, 5, 3600, 10], [1, 2, 9, 3], now_s=11)
    assert series.values.tolist() == [[1, 2, 3]]
    assert series.report.future == 1


def test_a_clock_set_back_doubles_a_stretch_and_the_second_reading_of_it_counts() -> None:
    series = clean([0, 5, 10, 15, 6, 11, 16, 21], [1, 1, 1, 1, 2, 2, 2, 2], step_s=5)
    assert series.values.tolist() == [[1, 2, 2, 2, 2]]
    assert (series.report.late, series.report.crowded, series.report.used) == (2, 3, 5)


def test_a_restarted_sampler_shifts_the_phase_and_loses_nothing_but_what_is_crowded() -> None:
    series = clean([0, 5, 10, 12, 17, 22], [1, 2, 3, 4, 5, 6], step_s=5)
    assert series.values.tolist() == [[1, 2, 4, 5, 6]]
    assert series.report.crowded == 1


def test_a_gap_is_held_and_a_long_one_cut_out() -> None:
    series = clean([0, 5, 20, 25], [1, 2, 3, 4], step_s=5)
    assert series.values.tolist() == [[1, 2, 2, 2, 3, 4]]
    assert (series.report.gaps, series.report.held_points, series.report.long_gaps) == (1, 2, 0)
    series = clean([0, 5, 5000, 5005], [1, 2, 3, 4], step_s=5)
    assert series.values.tolist() == [[1, 2, 3, 4]]
    assert (series.report.gaps, series.report.long_gaps) == (0, 1)


def test_old_readings_are_left_out() -> None:
    assert clean([0, 50, 55, 60], [1, 2, 3, 4], now_s=60, keep_s=15).report.too_old == 1


def test_nothing_gives_an_empty_series() -> None:
    series = clean([], [[]])
    assert series.values.shape == (1, 0)
    assert np.isnan(series.last_s)


def test_the_account_says_why() -> None:
    text = str(clean([0, 5, 5, 10], [1, -2, 7, float("nan")]).report)
    assert text.startswith("2 of 4 readings used (left out: 1 not finite, 1 negative)")


def test_shapes_that_do_not_match_are_refused() -> None:
    with pytest.raises(DataError, match="make no series"):
        clean([0, 1], [1, 2, 3])
    with pytest.raises(DataError, match="step"):
        clean([0, 1], [1, 2], step_s=0)


amounts = st.one_of(st.floats(-2, 50), st.just(float("nan")), st.just(float("inf")))


@given(st.lists(st.tuples(st.integers(-100, 400), amounts), max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_every_reading_is_accounted_for_and_the_newest_good_one_is_last(readings, random) -> None:
    random.shuffle(readings)
    series = clean([at for at, _ in readings], [[value for _, value in readings]], step_s=5, now_s=300, keep_s=350)
    report = series.report
    assert report.read == len(readings) == report.used + lost(report)
    assert series.values.shape[1] == report.used + report.held_points
    assert (series.values >= 0).all()
    good = [
        (at, i) for i, (at, value) in enumerate(readings) if np.isfinite(value) and value >= 0 and -50 <= at <= 305
    ]
    if good:
        assert series.last_s == max(good)[0]
        assert series.values[0, -1] == readings[max(good)[1]][1]
