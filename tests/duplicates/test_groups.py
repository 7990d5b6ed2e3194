"""Duplicate groups are connected components, split so that all members are close to their representative."""

import numpy as np

from whaleid.duplicates.groups import compact_groups, components, representatives

NO_PAIRS = np.empty((0, 2), dtype=np.intp)


def test_components_are_numbered_by_their_first_member() -> None:
    pairs = np.array([(5, 6), (1, 4), (0, 6), (4, 7)])  # components 0-6-5 and 1-4-7
    assert components(9, pairs).tolist() == [0, 1, -1, -1, 1, 0, 0, 1, -1]
    assert components(3, NO_PAIRS).tolist() == [-1, -1, -1]
    assert components(0, NO_PAIRS).tolist() == []


def test_the_member_with_the_lowest_rank_represents_its_group() -> None:
    group = np.array([0, -1, 1, 0, 1, 0])
    assert representatives(group, np.array([5, 0, 1, 3, 2, 4])).tolist() == [3, 1, 2, 3, 2, 3]


def group_line(positions: list[float], reach: float, rank: list[int]) -> tuple[list[int], list[int]]:
    """Group photos on a line: pairs are at most 1 apart, and photos at most `reach` apart are close."""
    x = np.array(positions)
    count = len(positions)
    pairs = np.array([(i, j) for i in range(count) for j in range(i + 1, count) if abs(x[i] - x[j]) <= 1])
    group, representative = compact_groups(
        count, pairs, np.array(rank), lambda rows: np.abs(x[rows[:, 0]] - x[rows[:, 1]]) <= reach
    )
    return group.tolist(), representative.tolist()


def test_a_group_of_close_photos_is_not_split() -> None:
    assert group_line([0, 1, 2, 9, 10], 2, [1, 0, 2, 3, 4]) == ([0, 0, 0, 1, 1], [1, 1, 1, 3, 3])


def test_a_chain_is_split_where_members_are_far_from_the_representative() -> None:
    # 0 represents 0, 1, 2; 3, 4, 5 are too far from 0 and form a group
    assert group_line([0, 1, 2, 3, 4, 5], 2, [0, 1, 2, 3, 4, 5]) == ([0, 0, 0, 1, 1, 1], [0, 0, 0, 3, 3, 3])
    # 2 represents all but 5, which has no group
    assert group_line([0, 1, 2, 3, 4, 5], 2, [3, 4, 0, 1, 2, 5]) == ([0, 0, 0, 0, 0, -1], [2, 2, 2, 2, 2, 5])


def test_a_close_member_keeps_its_representative_if_only_a_far_member_links_them() -> None:
    # 1 is linked to the representative 0 only through 2, which is too far from 0
    close = {(1, 0): True, (2, 0): False, (3, 0): True}
    pairs = np.array([(0, 3), (3, 2), (2, 1)])
    group, representative = compact_groups(
        4, pairs, np.arange(4), lambda rows: np.array([close[i, j] for i, j in rows.tolist()], dtype=bool)
    )
    assert group.tolist() == [0, 0, -1, 0]
    assert representative.tolist() == [0, 0, 2, 0]


def test_without_pairs_there_are_no_groups() -> None:
    group, representative = compact_groups(3, NO_PAIRS, np.arange(3), lambda rows: np.ones(len(rows), dtype=bool))
    assert group.tolist() == [-1, -1, -1]
    assert representative.tolist() == [0, 1, 2]
