"""Reports of plans against plain loops, figures of plans, and size files with the messages about bad ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from size_tables import size_tables

from fcnjax.data import BucketPlan, EpochPlan, bucket_table, comparison_table, plan_buckets, plan_report, read_sizes
from fcnjax.data.planning.baseline_buckets import aspect_groups, equal_count_groups, pad_to_max
from fcnjax.data.planning.plan_figure import plan_figure
from fcnjax.figure_style import save_figure

SIZES = np.array([[4, 9], [4, 8], [9, 3], [9, 9], [2, 2]])


@given(size_tables(), st.integers(1, 5), st.integers(0, 500))
@settings(max_examples=40)
def test_rows_are_what_a_loop_counts(sizes, max_buckets, spare):
    budget = int(np.prod(sizes.max(axis=0), dtype=int)) + spare
    plan = plan_buckets(sizes, max_buckets, pixel_budget=budget)
    report = plan_report(sizes, plan, pixel_budget=budget)
    assert plan.batch_sizes is not None
    assignment = plan.assign(sizes)
    padded = filled = 0
    for row, shape, rows, bucket in zip(
        report.buckets, plan.shapes, plan.batch_sizes, range(len(assignment)), strict=False
    ):
        members = sizes[assignment == bucket]
        batches = [members[start : start + rows] for start in range(0, len(members), rows)]
        assert row.shape == tuple(shape)
        assert (row.examples, row.batch_size, row.batches) == (len(members), rows, len(batches))
        assert row.filler_rows == sum(rows - len(batch) for batch in batches)
        assert row.waste == pytest.approx(len(members) * shape.prod() / members.prod(axis=1).sum() - 1)
        padded += len(members) * shape.prod()
        filled += len(batches) * rows * shape.prod()
    assert sum(row.share for row in report.buckets) == pytest.approx(1)
    ours = report.comparison[0]
    assert ours.waste == pytest.approx(padded / sizes.prod(axis=1).sum() - 1)
    assert ours.waste_with_filler == pytest.approx(filled / sizes.prod(axis=1).sum() - 1)
    assert ours.programs == ours.buckets == len(report.buckets)
    assert ours.filler_rows == sum(row.filler_rows or 0 for row in report.buckets)


@given(size_tables(), st.integers(1, 5), st.integers(1, 9))
@settings(max_examples=30)
def test_an_epoch_has_no_more_filler_rows_than_reported(sizes, max_buckets, batch_size):
    plan = plan_buckets(sizes, max_buckets)
    reported = plan_report(sizes, plan, batch_size=batch_size).comparison[0]
    epoch = EpochPlan(sizes, plan, batch_size, seed=0)
    assert reported.filler_rows is not None
    assert epoch.filler_rows <= reported.filler_rows
    assert reported.batches is not None
    assert reported.batches * batch_size - reported.filler_rows == len(sizes)


def test_baselines_by_hand():
    assert pad_to_max(SIZES).shapes.tolist() == [[9, 9]]
    assert aspect_groups(SIZES).shapes.tolist() == [[9, 3], [9, 9]]
    assert equal_count_groups(SIZES, 5).shapes.tolist() == [[2, 2], [9, 3], [4, 8], [4, 9], [9, 9]]
    assert aspect_groups(SIZES[:2]).shapes.tolist() == [[4, 9]]
    report = plan_report(SIZES, BucketPlan(np.array([[4, 9], [9, 9]])), batch_size=2)
    real = 36 + 32 + 27 + 81 + 4
    assert [row.name for row in report.comparison] == ["planned", "pad to max", "aspect groups", "equal counts"]
    assert [row.batches for row in report.comparison] == [3, 3, 3, 3]
    assert [row.filler_rows for row in report.comparison] == [1, 1, 1, 1]
    assert report.comparison[0].waste == pytest.approx((3 * 36 + 2 * 81) / real - 1)
    assert report.comparison[1].waste == pytest.approx(5 * 81 / real - 1)
    assert report.comparison[1].waste_with_filler == pytest.approx(6 * 81 / real - 1)


@pytest.mark.parametrize("axes", [1, 3])
def test_only_images_have_an_aspect(axes):
    sizes = np.full((3, axes), 4)
    assert [row.name for row in plan_report(sizes, plan_buckets(sizes)).comparison] == [
        "planned",
        "pad to max",
        "equal counts",
    ]
    with pytest.raises(ValueError, match="D = 2 spatial axes"):
        aspect_groups(sizes)


def test_without_batch_sizes_and_above_the_budget_there_are_none():
    plan = BucketPlan(np.array([[4, 9], [9, 3], [9, 9]]))
    assert {row.filler_rows for row in plan_report(SIZES, plan).comparison} == {None}
    apart = np.array([[2, 40], [40, 2]])  # their bounding box has 1600 positions
    report = plan_report(apart, plan_buckets(apart, pixel_budget=160), pixel_budget=160)
    assert [row.batches for row in report.comparison] == [2, None, 2, 2]
    with pytest.raises(ValueError, match="batch_size=0: must be 1 or more rows"):
        plan_report(SIZES, plan, batch_size=0)
    with pytest.raises(ValueError, match="batch_size=4: must not be given with pixel_budget=400"):
        plan_report(SIZES, plan, batch_size=4, pixel_budget=400)


def test_a_bucket_without_examples_is_not_compiled():
    report = plan_report(np.array([[3], [9]]), BucketPlan(np.array([[3], [5], [9]])), batch_size=1)
    assert [row.waste for row in report.buckets] == [0, 0, 0]
    assert (report.comparison[0].buckets, report.comparison[0].programs) == (3, 2)


def test_tables_fit_80_columns():
    sizes = np.full((1_300_000, 2), 1000)
    report = plan_report(sizes, BucketPlan(np.array([[1000, 1200], [4000, 4000]])), batch_size=2)
    for table in (bucket_table(report), comparison_table(report)):
        assert Console(width=200).measure(table).maximum <= 80


@pytest.mark.parametrize(("axes", "panels"), [(1, 1), (2, 1), (3, 3)])
def test_figures_show_every_bucket(axes, panels, tmp_path):
    sizes = np.random.default_rng(axes).integers(5, 40, (60, axes))
    plan = plan_buckets(sizes, 4)
    figure = plan_figure(sizes, plan)
    assert len(figure.axes) == panels
    for panel in figure.axes:
        if axes == 1:
            assert [line.get_xdata()[0] for line in panel.lines] == plan.shapes[:, 0].tolist()
        else:
            assert len(panel.patches) == len(plan.shapes)
            assert len(panel.collections[0].get_offsets()) == len(np.unique(sizes, axis=0))
    assert save_figure(figure, tmp_path / "new" / "plan.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="plan.xyz': must end in one of .*png.*; give a path such as plan.png"):
        save_figure(figure, tmp_path / "plan.xyz")


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("length\n5\n7\n", [[5], [7]]),
        ("height,width\n2,3\n4,5\n", [[2, 3], [4, 5]]),
        ('name, Width ,height\r\na,3,2\r\n\r\n"b,c",5, 4\r\n', [[2, 3], [4, 5]]),
        ("width,depth,height\n3,1,2\n", [[1, 2, 3]]),
        ("\ufeffheight,width\n2,3", [[2, 3]]),
    ],
)
def test_size_files(tmp_path, text, table):
    path = tmp_path / "sizes.csv"
    path.write_bytes(text.encode())
    assert read_sizes(path).tolist() == table


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "line 1: must name the columns length, or height and width, .* it names none"),
        (b"height,breadth\n2,3\n", "line 1: must name the columns .* it names height, breadth"),
        (b"height,width\n", "must hold an example"),
        (b"height,width\n2,3\n\n4,x\n", "line 4: width='x': must be an integer from 1"),
        (b"height,width\n2,3\n4\n", "line 3: width='': must"),
        (b"height,width\n0,3\n", "line 2: height='0': must"),
        (b"length\n-5\n", "line 2: length='-5': must"),
        (b"length\n2.5\n", "line 2: length='2.5': must"),
        (b"length\n4294967296\n", "line 2: length='4294967296': must"),
        (b"\x89PNG\r\n\x1a", "must be CSV text in UTF-8"),
    ],
)
def test_bad_size_files_are_refused(tmp_path, text, says):
    path = tmp_path / "sizes.csv"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=f"sizes.csv.*{says}"):
        read_sizes(path)
