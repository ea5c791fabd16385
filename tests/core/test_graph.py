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
