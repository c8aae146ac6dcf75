"""A page as a parser of HTML reads it, for the tests of all pages."""

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link", "path", "circle"}


class Page(HTMLParser):
    """Tags with their attributes, and the text of each element, all of which were closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append([tag, ""])

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.open:
            self.open[-1][1] += data

    def handle_endtag(self, tag):
        opened, text = self.open.pop()
        assert opened == tag
        self.texts.append((tag, text))
        if self.open:
            self.open[-1][1] += text

    def of(self, tag):
        """The texts of all elements of this name."""
        return [text for found, text in self.texts if found == tag]
