"""core.graph: cells drawn by hand, and their ways counted by hand."""

import pytest

from winnow.core.graph import Graph, NodeGraph

CELL = Graph(((0, 1, "a"), (0, 2, "none"), (1, 2, "b"), (0, 3, "c"), (1, 3, "none"), (2, 3, "d")), (0,), (3,))


def test_a_dead_end_is_not_live():
    dead_end = Graph(((0, 1, "a"), (0, 2, "b"), (1, 2, "none")), (0,), (2,))
    assert dead_end.live() == ((0, 2, "b"),)
    assert Graph(((0, 1, "none"), (1, 2, "a")), (0,), (2,)).live() == ()


def test_paths_are_counted_by_hand():
    assert {"".join(op for _, _, op in path) for path in CELL.paths()} == {"c", "abd"}


def test_operations_move_onto_nodes():
    names, feeds = CELL.on_nodes()
    assert names == ("input", "a", "none", "b", "c", "none", "d", "output")
    assert set(feeds) == {(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)}


def test_every_output_reaches_the_end():
    names, feeds = Graph(((0, 2, "a"), (1, 2, "b"), (2, 3, "c")), (0, 1), (2, 3)).on_nodes()
    assert names == ("input", "input", "a", "b", "c", "output")
    assert set(feeds) == {(0, 2), (1, 3), (2, 4), (3, 4), (2, 5), (3, 5), (4, 5)}


def test_ways_and_how_long_they_may_be_are_counted_by_hand():
    assert sorted(CELL.ways()) == [(0, ("a", "b", "d")), (0, ("c",))]
    assert CELL.lengths == range(1, 4)
    by_node = NodeGraph(("a", "b"), ((0, 1), (0, 3), (1, 2), (1, 3), (2, 3)), 4)
    assert sorted(by_node.ways()) == [(0, ()), (0, ("a",)), (0, ("a", "b"))]
    assert by_node.lengths == range(3)


def test_edges_may_stand_in_any_order():
    scrambled = Graph(((2, 3, "c"), (1, 2, "b"), (0, 1, "a"), (1, 4, "x"), (5, 6, "y")), (0,), (3,))
    assert scrambled.live() == ((2, 3, "c"), (1, 2, "b"), (0, 1, "a"))
    assert list(scrambled.ways()) == [(0, ("a", "b", "c"))]


def test_what_no_input_feeds_is_not_live_though_it_reaches_the_output():
    assert Graph(((1, 2, "a"), (0, 2, "b")), (0,), (2,)).live() == ((0, 2, "b"),)


def test_an_output_may_lie_on_the_way_to_another():
    both = Graph(((0, 2, "a"), (1, 2, "b"), (2, 3, "c")), (0, 1), (2, 3))
    assert list(both.ways()) == [(0, ("a",)), (0, ("a", "c")), (1, ("b",)), (1, ("b", "c"))]
    through = Graph(((0, 1, "a"),), (0,), (0, 1))
    assert list(through.ways()) == [(0, ("a",))]  # an input that is an output is no way over edges


def test_room_and_lengths_are_those_of_any_cell_of_the_space():
    assert (CELL.room, CELL.lengths, CELL.ops) == (8, range(1, 4), ("a", "none", "b", "c", "none", "d"))
    two = Graph(((0, 2, "a"), (1, 2, "b")), (0, 1), (2,))
    assert (two.room, two.lengths) == (5, range(1, 2))
    assert len(two.on_nodes()[0]) == two.room
    assert (CELL.words, NodeGraph((), ((0, 1),), 2).words) == ((), ())


def test_a_cell_with_operations_on_nodes_is_already_what_on_nodes_gives():
    cell = NodeGraph(("a", "b"), ((0, 1), (0, 2), (1, 3), (2, 3)), 7)
    assert cell.on_nodes() == (("input", "a", "b", "output"), cell.feeds)
    assert (cell.inputs, cell.lengths) == ((0,), range(6))
    assert list(cell.ways()) == [(0, ("a",)), (0, ("b",))]
    assert list(NodeGraph((), ((0, 1),), 2).ways()) == [(0, ())]


def test_one_operation_leads_to_a_node_and_on_to_all_it_feeds():
    names, feeds = Graph(((0, 1, "a"), (1, 2, "b"), (1, 3, "c")), (0,), (2, 3)).on_nodes()
    assert names == ("input", "a", "b", "c", "output")
    assert feeds == ((0, 1), (1, 2), (1, 3), (2, 4), (3, 4))


@pytest.mark.parametrize("cell", [CELL, NodeGraph(("a",), ((0, 1), (1, 2)), 3)])
def test_a_cell_is_a_key_and_cannot_be_changed(cell):
    assert cell in {cell}
    with pytest.raises(AttributeError):
        cell.words = ("x",)
