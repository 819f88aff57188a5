"""Memory and bytes of one cell group's search against its bound. Used by near_duplicates.py."""

from __future__ import annotations

from search_cost import SEARCHES, print_heads, print_row
from search_projects import Projects, run

BOUNDS_GIB = (2.0, 0.05, 0.01)
"""Of a group's search: the product's own, and what a large group does not fit into."""


def report_groups(projects: Projects, n_images: int, eps: float, group_counts: list[int]) -> None:
    """A row for a typical group and one for the largest, by number of groups and bound."""
    print(f"\n## Groups: N = {n_images:,}, max_eps = {eps}, one thread, from scratch\n")
    heads = ["groups", "searched", "images", "bound, MiB", "passes", "grew by, MiB", "read, MB"]
    print_heads(*heads, "pairs", "CPU-s")
    for n_groups in group_counts:
        with projects.project("now", n_images, eps, clusters={"n_cell_groups": n_groups}) as folder:
            for stage in SEARCHES[:-1]:
                projects.run("now", folder, "--stage", stage)
            for bound in BOUNDS_GIB:
                for which in ("median", "largest"):
                    found = run("search_looks.py", folder, "group", which, bound)
                    print_row(
                        n_groups,
                        which,
                        f"{found['n_members']:,}",
                        f"{1024 * bound:,.0f}",
                        found["n_passes"],
                        f"{found['peak_mib'] - found['start_mib']:,.0f}",
                        f"{found['read_bytes'] / 1e6:,.1f}",
                        f"{found['n_pairs']:,}",
                        f"{found['cpu_seconds']:.2f}",
                    )
