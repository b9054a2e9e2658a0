"""Options that may be of one graph of a pipeline: `GRAPH/NAME:…` beside `NAME:…`."""

from collections.abc import Collection, Iterable


def of_graph(texts: Iterable[str], graph: str, graphs: Collection[str]) -> tuple[str, ...]:
    """What is said of a graph, without its name, and what names none.

    Args:
        texts: As they were given; a name with a slash in it may be one of an input.
        graph: The graph.
        graphs: All graphs of the pipeline.
    """
    own = []
    for text in texts:
        head, slash, rest = text.partition("/")
        if not (slash and head in graphs):
            own.append(text)
        elif head == graph:
            own.append(rest)
    return tuple(own)
