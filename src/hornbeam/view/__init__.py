"""Looking at a run: the report page, the search page, a tree as a picture, a tree as text.

`write_report`, `write_search` and `write_trees_page` (trees of no run) write one HTML file that
needs no network, `tree_svg` draws one tree as a picture for documents, `tree_text` one as indented
text for terminals. Nothing here changes a tree.
"""

from hornbeam.view.data import PageLimits, ReportData
from hornbeam.view.picture import tree_svg
from hornbeam.view.report import live_html, report_html, write_report, write_trees_page
from hornbeam.view.search_page import search_page, write_search
from hornbeam.view.text import tree_text

__all__ = [
    "PageLimits",
    "ReportData",
    "live_html",
    "report_html",
    "search_page",
    "tree_svg",
    "tree_text",
    "write_report",
    "write_search",
    "write_trees_page",
]
