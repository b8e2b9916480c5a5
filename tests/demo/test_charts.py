from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from fewstep.demo.charts import Point, Scale, line_chart, scatter, smoothed, ticks


def test_a_scale_maps_its_ends_and_its_logarithmic_middle():
    scale = Scale(1, 100, 0, 200, log=True)
    assert [scale(1), scale(10), scale(100)] == pytest.approx([0, 100, 200])


def test_a_constant_stays_itself_when_smoothed_from_the_first_value_on():
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)


def test_smoothing_by_hand():
    assert smoothed([1.0, 0.0]) == pytest.approx([1.0, 0.85 * 0.15 / (0.85 * 0.15 + 0.15)])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 60), (0, 0.003), (0, 0)])
def test_ticks_lie_within_their_range_and_are_few(low, high):
    marks = ticks(low, high)
    assert 1 <= len(marks) <= 7
    assert all(low <= mark <= high + 1e-9 for mark in marks)


def test_charts_are_well_formed_and_say_what_they_show():
    points = [Point(3, 0.5, "1 step & more", "student"), Point(100, 0.9, "50 steps", "teacher")]
    drawn = [
        line_chart([0.5, 0.4, 0.3], title="Loss", x_label="cycle", tone="student"),
        line_chart([0.0, 0.0], title="Flat", x_label="cycle", tone="student"),
        scatter(points, title="Quality", x_label="work", y_label="right", joined="student"),
    ]
    for svg in drawn:
        assert ET.fromstring(svg).get("aria-label")
