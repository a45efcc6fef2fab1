"""One self-contained HTML page on a table, a search's answers, or a deployment.

Charts are SVG that Python draws, and a small script of our own shows what a mark stands for: the
script of a plotting library alone is larger than a page may be (plotly's is 3.5 MB). A page is a
tree of elements, not a text with holes, so a hostile name in a file cannot become markup. Its
content security policy permits its own style and script by their hashes and nothing else, so no
page reaches the network, whatever it holds.
"""
