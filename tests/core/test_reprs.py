"""What notebooks show of objects."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from hifrac.core.reprs import html_facts, html_rows


class Cells(HTMLParser):
    """The texts of the cells, and the tags."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th", "strong"):
            self.texts.append("")

    def handle_data(self, data):
        self.texts[-1] += data


def test_facts_are_a_table_of_two_columns():
    cells = Cells(html_facts("an estimator", {"model": "default", "rows": 3}))
    assert cells.texts == ["an estimator", "model", "default", "rows", "3"]


def test_rows_have_heads():
    cells = Cells(html_rows("models", ("name", "what"), [("a", "first"), ("b", "second")]))
    assert cells.texts == ["models", "name", "what", "a", "first", "b", "second"]


@given(st.text(alphabet="<>&\"'abc /=", max_size=30))
def test_everything_is_escaped(text):
    cells = Cells(html_facts(text, {text: text}))
    assert cells.texts == [text, text, text]
    assert set(cells.tags) <= {"table", "caption", "strong", "tr", "th", "td"}
