"""When a space that shrinks is due to drop options."""

from winnow.search.shrink import Pace


def test_options_are_dropped_after_the_first_epochs_and_then_at_each_interval():
    assert [done for done in range(12) if Pace(4, 3, 1.0).due(done)] == [4, 7, 10]
