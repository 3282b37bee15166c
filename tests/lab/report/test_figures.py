import dataclasses

import numpy as np
import pytest
from synthetic_report import make_decisions, make_experiment, make_observations, make_rows

from fcnjax.lab import report as pages
from fcnjax.lab.report.figures import NARROW, WIDE
from fcnjax.lab.report.words import effect_words


@pytest.fixture(scope="module")
def summary(experiment, observations):
    return pages.summarize(experiment, observations, blocks=40)


@pytest.fixture(scope="module")
def decisions(experiment, observations):
    return make_decisions(experiment, observations)


def texts(figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in (*axes.texts, *axes.get_yticklabels()))


def test_every_arm_has_its_own_color_and_marker():
    styles = pages.arm_styles(make_experiment())
    assert len(set(styles.values())) == len(styles) == 12


def test_equal_figures_give_equal_pictures(summary):
    first, second = (pages.chart("a", lambda width: pages.accuracy_figure(summary, width), "") for _ in range(2))
    assert first == second
    assert first.png != first.narrow


def test_accuracy_is_drawn_with_its_interval_clustered_by_block(summary):
    axes = pages.accuracy_figure(summary).axes[0]
    estimates = [each.accuracy for each in summary.intact]
    spans = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(spans, [100 * np.array(estimate.interval()) for estimate in estimates])
    by_example = pages.summarize(summary.experiment, make_observations()).intact[0].accuracy
    assert by_example.interval() != estimates[0].interval()
    assert by_example.mean == estimates[0].mean


def test_arms_that_are_broken_on_purpose_do_not_set_the_scale(summary):
    assert "shuffled labels" not in texts(pages.accuracy_figure(summary)).replace("\n", " ")
    assert pages.accuracy_figure(summary).axes[0].get_xlim()[0] > 90
    assert len(pages.loss_figure(summary).axes) == len(pages.size_figure(summary).axes) == 12
    assert [axes.get_visible() for axes in pages.loss_figure(summary).axes].count(True) == 11


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_forest_shows_every_contrast_its_margin_and_verdict(decisions, width):
    axes = pages.contrast_figure(decisions, width).axes[0]
    written = " ".join(" ".join(text.get_text().split()) for text in axes.texts)
    statistical = [decision for decision in decisions if decision.estimate is not None]
    for decision in statistical:
        assert decision.claim.statement in written
        assert effect_words(decision).replace("-", "\u2212") in written
    assert "✓ fails, as it must" in written
    boxes = [box.get_paths()[0].get_extents() for box in axes.collections]
    assert [(round(box.x0, 6), round(box.x1, 6)) for box in boxes] == [
        ((-1.0 if "Equivalence" in type(d.claim).__name__ else 0.0), 1.0) for d in statistical
    ]
    assert axes.get_xlim()[0] > -10, "the control is at -87 points"
    assert [line.get_marker() for line in axes.lines].count("<") == 1


def test_contrasts_of_different_units_have_panels_of_their_own(decisions):
    other = dataclasses.replace(decisions[0].claim, unit="nats", scale=1.0)
    figure = pages.contrast_figure([*decisions, dataclasses.replace(decisions[0], claim=other)])
    assert [axes.get_xlabel() for axes in figure.axes] == ["difference (points of accuracy)", "difference (nats)"]
    with pytest.raises(ValueError, match="without an estimate: must be at least 1 with one"):
        pages.contrast_figure([d for d in decisions if d.estimate is None])


def test_accuracy_by_size_is_that_of_the_examples_in_the_group(summary, observations):
    arm = summary.intact[0]
    smallest = set(summary.sizes.ids[summary.sizes.group == 0])
    correct = [
        value
        for run in observations.of(arm.arm.name)
        for number, value in zip(run.ids, run.values["accuracy"], strict=True)
        if number in smallest
    ]
    assert arm.by_size[0].count == len(correct)
    assert arm.by_size[0].mean == pytest.approx(np.mean(correct))
    assert summary.sizes.labels[0] == "16.0 to 23.0"


def test_examples_of_one_size_have_no_groups(experiment, observations):
    runs = tuple(dataclasses.replace(run, sizes=np.full_like(run.sizes, 28)) for run in observations.runs[:5])
    summary = pages.summarize(experiment, dataclasses.replace(observations, runs=runs))
    assert summary.sizes is None
    with pytest.raises(ValueError, match="sizes=None: must be groups of sizes"):
        pages.size_figure(summary)


def test_class_maps_are_drawn_at_one_scale():
    figure = pages.class_map_panel(make_rows())
    inches = figure.get_size_inches()
    cells = [axes.get_position().size * inches for axes in figure.axes[:16]]
    pixels = [(image.shape[1], image.shape[0]) for row in make_rows() for image in [row.image] * 4]
    np.testing.assert_allclose(np.array(cells) / pixels, 1.25 / 40)


def test_class_map_scales_are_shared_or_one_per_arm():
    assert len(pages.class_map_panel(make_rows()).axes) == 16 + 1
    assert len(pages.class_map_panel(make_rows(), shared=False).axes) == 16 + 3


def test_class_map_rows_validate_themselves():
    row = make_rows()[0]
    with pytest.raises(ValueError, match=r"image of shape \(16, 18\): must be"):
        dataclasses.replace(row, image=row.image[:, :, 0])
    with pytest.raises(ValueError, match="must be of the same arms"):
        dataclasses.replace(row, predictions={})
    with pytest.raises(ValueError, match=r"a class in \[0, K\)"):
        dataclasses.replace(row, predictions=dict.fromkeys(row.maps, 10))
    with pytest.raises(ValueError, match="at least one row"):
        pages.class_map_panel([])


def test_flat_images_and_flat_maps_are_drawn_without_warnings():
    flat = pages.ClassMapRow(np.zeros((16, 16, 3)), {"a": np.zeros((2, 2, 10))}, {"a": 1}, 1)
    assert pages.picture("flat", pages.class_map_panel([flat]), "flat").png.startswith(b"\x89PNG")
