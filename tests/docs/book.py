"""Follows every link within a book that was built: the page is there, and so is the place on it.

Usage: book.py FOLDER
"""

import html.parser
import os
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.places = [], set()

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.places.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def main(folder):
    pages = {}
    for place, _, files in os.walk(folder):
        for file in files:
            if file.endswith(".html") and file not in ("404.html", "print.html", "toc.html"):
                path = os.path.normpath(os.path.join(place, file))
                pages[path] = Page()
                with open(path, encoding="utf-8") as text:
                    pages[path].feed(text.read())
    total, problems = 0, set()
    for path, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            total += 1
            target = os.path.normpath(os.path.join(os.path.dirname(path), urllib.parse.unquote(url.path))) if url.path else path
            if not os.path.exists(target):
                problems.add(f"{path}: there is no {target}")
            elif url.fragment and target in pages and urllib.parse.unquote(url.fragment) not in pages[target].places:
                problems.add(f"{path}: {target} has no place #{url.fragment}")
    for problem in sorted(problems):
        print(f"FAILED {problem}")
    print(f"book: {len(pages)} pages, {total} links, {len(problems)} of them into nowhere")
    return 1 if problems or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
