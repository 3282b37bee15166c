"""Names in messages and tables: nothing in them acts on a terminal or in a spreadsheet."""

import pytest

from fcnjax.data import UnreadableExample
from fcnjax.naming import printable, shortened, spreadsheet_text, unknown_name

HOSTILE = "a\x1b[2J\x1b]0;b\x07\nc\r\u202ed\udc80"  # clears the screen, sets a title, turns the text, is not UTF-8
ESCAPED = r"a\x1b[2J\x1b]0;b\x07\nc\r\u202ed\udc80"


def test_what_acts_on_a_terminal_is_escaped_and_all_else_stays():
    assert printable(HOSTILE) == ESCAPED
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"
    for text in ("Käfer 'C:\\new' [red]", "日本語", ""):
        assert printable(text) == text
    assert printable(ValueError("a\tb")) == r"a\tb"


def test_sentences_and_tables_hold_only_printable_names():
    assert unknown_name(f"split of {HOSTILE}:", "x", [HOSTILE]) == f"unknown split of {ESCAPED}: 'x'. Known: {ESCAPED}."
    assert shortened(HOSTILE, 10) == "a\\x1b[2J\\…"
    assert str(UnreadableExample(HOSTILE, HOSTILE)) == f"{ESCAPED}: {ESCAPED}"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_text_is_a_formula(start):
    for text in (f'{start}HYPERLINK("http://x")', f"{start}1+cmd|x"):
        assert spreadsheet_text(text) == f"'{text}"


def test_numbers_and_other_texts_are_cells_as_they_are():
    for text in ("-0.25", "+1e-3", "-inf", "12", "", "a=1", "cat", "Käfer", "a\nb", "'=1"):
        assert spreadsheet_text(text) == text
    assert spreadsheet_text("\t-1") == "'\t-1"
    assert spreadsheet_text("\udc80.png") == "\\udc80.png"
