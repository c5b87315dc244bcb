from __future__ import annotations

import networkx
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import graph

# Each node's needs, cycles allowed.
any_graph = st.integers(0, 12).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, max(0, size - 1)), max_size=3), min_size=size, max_size=size
    )
)


def _reference(needs: list[list[int]]) -> networkx.DiGraph:
    drawn = networkx.DiGraph()
    drawn.add_nodes_from(range(len(needs)))
    drawn.add_edges_from((other, node) for node, before in enumerate(needs) for other in before)
    return drawn


@given(any_graph)
def test_the_order_holds_all_nodes_that_no_cycle_keeps_back(needs: list[list[int]]):
    ordered = graph.order(needs)
    place = {node: number for number, node in enumerate(ordered)}
    assert all(place[other] < place[node] for node in ordered for other in needs[node])
    drawn = _reference(needs)
    looped = {
        node for part in networkx.strongly_connected_components(drawn) for node in part if len(part) > 1
    }
    looped |= {node for node in drawn if drawn.has_edge(node, node)}
    stuck = looped.union(*(networkx.descendants(drawn, node) for node in looped))
    assert set(ordered) == set(drawn) - stuck
    if not stuck:
        assert ordered == list(networkx.lexicographical_topological_sort(drawn))


@given(any_graph)
def test_every_cycle_named_is_one_and_none_is_missed(needs: list[list[int]]):
    found = graph.cycles(needs)
    for cycle in found:
        for node, needed in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert needed in needs[node]
    assert bool(found) == (not networkx.is_directed_acyclic_graph(_reference(needs)))
    assert len({node for cycle in found for node in cycle}) == sum(map(len, found))


dag = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        *(st.lists(st.integers(0, node - 1), max_size=3) if node else st.just([]) for node in range(size))
    )
)


@given(dag, st.lists(st.integers(1, 9), min_size=12, max_size=12))
def test_longest_path_depth_and_precedence_agree_with_networkx(
    needs: tuple[list[int], ...], weights: list[int]
):
    drawn = _reference(list(needs))
    ordered = graph.order(needs)
    for node in drawn:
        for other in drawn.predecessors(node):
            drawn[other][node]["weight"] = weights[node]
    path, total = graph.longest_path(needs, ordered, weights)
    assert total == sum(weights[node] for node in path)
    assert total == max(
        weights[start]
        + max(
            networkx.single_source_bellman_ford_path_length(
                networkx.DiGraph((a, b, {"weight": -d["weight"]}) for a, b, d in drawn.edges(data=True)),
                start,
            ).values(),
            key=lambda length: -length,
        )
        * -1
        if any(drawn.successors(start))
        else weights[start]
        for start in drawn
    )
    assert max(graph.depths(needs, ordered)) == networkx.dag_longest_path_length(_reference(list(needs))) + 1
    precedence = graph.Precedence(needs, ordered)
    for one in drawn:
        after = networkx.descendants(drawn, one)
        for other in drawn:
            if one != other and precedence.rank(one) < precedence.rank(other):
                assert precedence.before(one, other) == (other in after)


def test_precedence_gives_up_at_its_bound_instead_of_taking_for_ever():
    needs = [[], *([node] for node in range(200))]
    assert graph.Precedence(needs, graph.order(needs), max_steps=10).before(0, 200) is None
