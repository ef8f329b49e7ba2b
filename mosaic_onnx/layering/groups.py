"""Convex groups of nodes: merging never creates a cycle among the groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mosaic_onnx.core.graph.topological import order_by_sources


class Groups:
    """A partition of items ``0 … n-1`` of an acyclic graph, with the edges between the groups.

    Every group has a rank, and whatever reads it has a higher one. A group may be merged with the lowest of its
    readers: its other readers stand higher, so no path through them comes back. Likewise with the highest of its
    sources. So the groups stay acyclic among each other, and each of them convex, without a search for paths.

    Args:
        sources: for each item, the items whose values it reads: all of them smaller numbers.
    """

    def __init__(self, sources: Sequence[Iterable[int]]) -> None:
        self._parent = list(range(len(sources)))
        self._rank = list(range(len(sources)))
        self.members: list[list[int]] = [[item] for item in range(len(sources))]
        self.sources: list[set[int]] = [set(before) for before in sources]
        self.readers: list[set[int]] = [set() for _ in sources]
        for item, before in enumerate(self.sources):
            for source in before:
                self.readers[source].add(item)

    def find(self, item: int) -> int:
        """Return the group of an item, by its number (that of one of its members)."""
        root = item
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def only_reader(self, item: int) -> int | None:
        """Return the one group that reads the item's group; None where there are none or several."""
        readers = self.readers[self.find(item)]
        return next(iter(readers)) if len(readers) == 1 else None

    def only_source(self, item: int) -> int | None:
        """Return the one group that the item's group reads; None where there are none or several."""
        sources = self.sources[self.find(item)]
        return next(iter(sources)) if len(sources) == 1 else None

    def first_reader(self, item: int) -> int | None:
        """Return the reader of the item's group with the lowest rank; None where there is none."""
        return min(self.readers[self.find(item)], key=lambda reader: self._rank[reader], default=None)

    def merge_if_safe(self, first: int, second: int) -> bool:
        """Merge a group and one that reads it, where all groups stay convex; return whether they are one group now."""
        first, second = self.find(first), self.find(second)
        if first == second:
            return True
        if second not in self.readers[first]:
            return False
        rank = self._rank
        if all(rank[reader] >= rank[second] for reader in self.readers[first]):
            merged_rank = rank[second]
        elif all(rank[source] <= rank[first] for source in self.sources[second]):
            merged_rank = rank[first]
        else:
            return False
        rank[self._union(first, second)] = merged_rank
        return True

    def merge_with_paths(self, sets: Iterable[Iterable[int]]) -> None:
        """Merge each set, and whatever lies on paths between its members, so that the groups stay acyclic."""
        listed = [list(items) for items in sets]
        if not listed:
            return
        for first, *rest in listed:
            for item in rest:
                if self.find(first) != self.find(item):
                    self._union(self.find(first), self.find(item))
        for component in self._components():
            for item in component[1:]:
                self._union(self.find(component[0]), self.find(item))
        for rank, members in enumerate(self.in_order()):
            self._rank[self.find(members[0])] = rank

    def in_order(self) -> list[list[int]]:
        """Return each group's members, sorted; groups in a topological order that keeps the items' order if it can."""
        members = sorted(sorted(each) for each in self.members if each)
        number = {self.find(each[0]): index for index, each in enumerate(members)}
        sources = [{number[root] for root in self.sources[self.find(each[0])]} for each in members]
        return [members[index] for index in order_by_sources(sources).positions]

    def _union(self, one: int, other: int) -> int:
        """Join two groups; the one with fewer edges is folded into the other."""
        weight = [len(self.members[root]) + len(self.sources[root]) + len(self.readers[root]) for root in (one, other)]
        keep, fold = (one, other) if weight[0] >= weight[1] else (other, one)
        self._parent[fold] = keep
        self.members[keep] += self.members[fold]
        for near, far in ((self.sources, self.readers), (self.readers, self.sources)):
            for neighbour in near[fold]:
                far[neighbour].discard(fold)
                if neighbour != keep:
                    far[neighbour].add(keep)
                    near[keep].add(neighbour)
            near[keep].discard(fold)
            near[fold] = set()
        self.members[fold] = []
        return keep

    def _components(self) -> list[list[int]]:
        """Return the strongly connected components of more than one group (Tarjan 1972, without recursion)."""
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        on_stack: set[int] = set()
        stack: list[int] = []
        found = []
        for start in range(len(self._parent)):
            if self._parent[start] != start or start in index:
                continue
            work = [(start, iter(sorted(self.readers[start])))]
            index[start] = low[start] = len(index)
            stack.append(start)
            on_stack.add(start)
            while work:
                root, readers = work[-1]
                reader = next(readers, None)
                if reader is None:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[root])
                    if low[root] == index[root]:
                        component = self._pop_component(stack, on_stack, root)
                        if len(component) > 1:
                            found.append(component)
                elif reader not in index:
                    index[reader] = low[reader] = len(index)
                    stack.append(reader)
                    on_stack.add(reader)
                    work.append((reader, iter(sorted(self.readers[reader]))))
                elif reader in on_stack:
                    low[root] = min(low[root], index[reader])
        return found

    @staticmethod
    def _pop_component(stack: list[int], on_stack: set[int], root: int) -> list[int]:
        component = []
        while True:
            item = stack.pop()
            on_stack.discard(item)
            component.append(item)
            if item == root:
                return component
