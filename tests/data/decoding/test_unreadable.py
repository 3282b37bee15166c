"""Lines on what cannot be read: one for each reason, whatever the number of files."""

from fcnjax.data.decoding.unreadable import lines_by_reason


def test_many_names_and_reasons_are_folded_and_the_complete_list_is_named():
    few = {f"{index}.png": "empty" for index in range(3)}
    assert lines_by_reason(few, "see all") == ["0.png, 1.png, 2.png: empty"]
    assert lines_by_reason({**few, "3.png": "empty"}, "see all") == ["0.png, 1.png, 2.png and 1 more: empty", "see all"]
    reasons = {f"{sign}.png": f"no {sign}" for sign in "abcdefghijklmno"}
    *lines, rest, complete = lines_by_reason(reasons, "see all")
    assert (len(lines), rest, complete) == (12, "3 more, for 3 other reasons", "see all")
    assert lines_by_reason({"a\n.png": "b"}) == ["a\\n.png: b"]
