"""How to cite what a set of benchmarks uses, and under which licences, from the catalog of archives."""

from collections.abc import Iterable

from s2rm.acquire.archives.catalog import Catalog, Route, choose_route
from s2rm.config.benchmarks import get_benchmark


def describe_citations(catalog: Catalog, benchmarks: Iterable[str], referit: Route) -> str:
    """Return one block of text with the licence and the citation of every archive that the benchmarks use.

    Archives with the same licence and citation share an entry.

    Args:
        catalog: the catalog of archives.
        benchmarks: names of benchmarks.
        referit: the route by which ReferIt is fetched.

    Raises:
        UserError: a benchmark is unknown, or the catalog has no route for it.
    """
    users: dict[str, list[str]] = {}  # archive → titles of the benchmarks that use it
    for name in dict.fromkeys(benchmarks):
        for archive in dict.fromkeys(catalog.files(name, choose_route(name, referit)).all):
            users.setdefault(archive, []).append(get_benchmark(name).title)
    entries: dict[tuple[str, str, str], list[str]] = {}  # titles, licence, citation → archives
    for archive, titles in users.items():
        entry = (", ".join(titles), catalog.licence(archive), catalog.archive(archive).citation)
        entries.setdefault(entry, []).append(archive)
    lines = ["How to cite what you use:"]
    for (titled, licence, citation), archives in entries.items():
        lines += [f"  {titled}: {', '.join(archives)}", f"    licence: {licence}", f"    cite: {citation}"]
    return "\n".join(lines)
