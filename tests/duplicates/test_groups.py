"""Groups are closed, and held together by one photo each."""

import numpy as np

from whaleid.duplicates.groups import compact_groups, components, representatives

NONE = np.empty((0, 2), dtype=np.intp)


def test_groups_are_closed_and_numbered_by_their_first_member() -> None:
    pairs = np.array([(5, 6), (1, 4), (0, 6), (4, 7)])  # 0-6-5 and 1-4-7
    assert components(9, pairs).tolist() == [0, 1, -1, -1, 1, 0, 0, 1, -1]
    assert components(3, NONE).tolist() == [-1, -1, -1]
    assert components(0, NONE).tolist() == []


def test_the_member_of_lowest_rank_stands_for_its_group() -> None:
    group = np.array([0, -1, 1, 0, 1, 0])
    assert representatives(group, np.array([5, 0, 1, 3, 2, 4])).tolist() == [3, 1, 2, 3, 2, 3]


def chain(places: list[float], reach: float, rank_photos: list[int]) -> tuple[list[int], list[int]]:
    """Photos on a line: those beside each other are pairs, and at most `reach` is near."""
    at = np.array(places)
    count = len(places)
    pairs = np.array([(i, j) for i in range(count) for j in range(i + 1, count) if abs(at[i] - at[j]) <= 1])
    group, representative = compact_groups(
        count, pairs, np.array(rank_photos), lambda rows: np.abs(at[rows[:, 0]] - at[rows[:, 1]]) <= reach
    )
    return group.tolist(), representative.tolist()


def test_a_group_without_a_chain_stays_whole() -> None:
    assert chain([0, 1, 2, 9, 10], 2, [1, 0, 2, 3, 4]) == ([0, 0, 0, 1, 1], [1, 1, 1, 3, 3])


def test_a_chain_is_cut_where_it_leads_too_far_from_the_representative() -> None:
    # 0 stands for 0, 1, 2; 3, 4, 5 are too far from it, and go together
    assert chain([0, 1, 2, 3, 4, 5], 2, [0, 1, 2, 3, 4, 5]) == ([0, 0, 0, 1, 1, 1], [0, 0, 0, 3, 3, 3])
    # 2 stands for all but 5, which is left alone
    assert chain([0, 1, 2, 3, 4, 5], 2, [3, 4, 0, 1, 2, 5]) == ([0, 0, 0, 0, 0, -1], [2, 2, 2, 2, 2, 5])


def test_a_near_member_stays_where_only_a_far_one_leads_to_it() -> None:
    # on a ring: 1 is linked to the representative 0 only by way of 2, which is too far from it
    near = {(1, 0): True, (2, 0): False, (3, 0): True}
    pairs = np.array([(0, 3), (3, 2), (2, 1)])
    group, representative = compact_groups(
        4, pairs, np.arange(4), lambda rows: np.array([near[i, j] for i, j in rows.tolist()], dtype=bool)
    )
    assert group.tolist() == [0, 0, -1, 0]
    assert representative.tolist() == [0, 0, 2, 0]


def test_no_pairs_make_no_groups() -> None:
    group, representative = compact_groups(3, NONE, np.arange(3), lambda rows: np.ones(len(rows), dtype=bool))
    assert group.tolist() == [-1, -1, -1]
    assert representative.tolist() == [0, 1, 2]
