"""Submission files: the format and the score of Kaggle, and errors that list all problems."""

import pytest

from whaleid.catalog.submission import check_ready, read_solution, read_submission, write_submission
from whaleid.cli.submissions import grade
from whaleid.core.errors import InputProblems, WhaleidError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in a temporary folder, so that messages have relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, name, *lines):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path.relative_to(folder)


def test_written_rows_are_sorted(folder):
    write_submission({"b.jpg": ["w_1", "new_whale"], "a.jpg": ["w_2"]}, folder / "s.csv")
    assert (folder / "s.csv").read_bytes() == b"Image,Id\na.jpg,w_2\nb.jpg,w_1 new_whale\n"
    assert read_submission(folder / "s.csv", ["a.jpg", "b.jpg"]) == {
        "a.jpg": ["w_2"],
        "b.jpg": ["w_1", "new_whale"],
    }


def test_score_of_a_worked_out_example(folder):
    solution = write(folder, "solution.csv", "Image,Id", "a.jpg,w_1", "b.jpg,new_whale", "c.jpg,w_3", "d.jpg,w_4")
    submission = write(
        folder,
        "s.csv",
        "Id,Image",
        "w_9 w_8 w_7 w_6 w_5 w_4,d.jpg",  # not among the first five: 0
        "w_1 w_2,a.jpg",  # 1
        "w_2 w_2 new_whale,b.jpg",  # second distinct label: 1/2
        "w_1 w_2 w_4 w_3 new_whale,c.jpg",  # 1/4
    )
    assert grade(submission, solution) == pytest.approx(1.75 / 4)


def test_labels_that_look_like_numbers_or_nan_stay_text(folder):
    solution = write(folder, "solution.csv", "Image,Id", "a.jpg,007", "b.jpg,nan")
    submission = write(folder, "s.csv", "Image,Id", "a.jpg,7 007", "b.jpg,nan")
    assert grade(submission, solution) == pytest.approx(0.75)


def test_one_error_lists_all_problems_of_a_submission(folder):
    solution = write(folder, "solution.csv", "Image,Id", *(f"{name}.jpg,w_1" for name in "abcd"))
    submission = write(folder, "s.csv", "Image,Id", "a.jpg,w_1", "b.jpg, ", "a.jpg,w_2", "z.jpg,w_1", "c.jpg,w_1")
    with pytest.raises(InputProblems, match="cannot be scored") as error:
        grade(submission, solution)
    assert error.value.locations == [
        "s.csv, line 3: 'b.jpg' has no label",
        "s.csv, line 4: 'a.jpg' is repeated: it is also in line 2",
        "s.csv, line 5: 'z.jpg' is not in the solution",
        "s.csv: 'd.jpg' is missing",
    ]


def test_one_error_lists_all_problems_of_a_solution(folder):
    solution = write(folder, "solution.csv", "Image,Id", "a.jpg,w_1", "b.jpg,", "a.jpg,w_1", "c.jpg,w_1 w_2")
    with pytest.raises(InputProblems, match="cannot be used") as error:
        read_solution(solution)
    assert error.value.locations == [
        "solution.csv, line 3: 'b.jpg' has no label",
        "solution.csv, line 4: 'a.jpg' is repeated: it is also in line 2",
        "solution.csv, line 5: 'c.jpg' has several labels: 'w_1 w_2'",
    ]


def test_a_solution_without_rows_is_refused(folder):
    with pytest.raises(WhaleidError, match="has no rows"):
        read_solution(write(folder, "solution.csv", "Image,Id"))


@pytest.mark.parametrize("header", ["Image,Label", "image,Id", "Id"])
def test_a_missing_column_is_refused(folder, header):
    with pytest.raises(WhaleidError, match="column missing"):
        read_submission(write(folder, "s.csv", header), ["a.jpg"])


def test_a_valid_submission_is_ready(folder):
    path = write(folder, "s.csv", "Image,Id", "b.jpg,w_1 w_2 w_3 w_4 new_whale", "a.jpg,w_1")
    check_ready(path, ["a.jpg", "b.jpg"], ["w_1", "w_2", "w_3", "w_4"])


def test_one_error_lists_all_reasons_why_a_file_is_not_ready(folder):
    path = write(
        folder,
        "s.csv",
        "Image,Id",
        "a.jpg,w_1 w_2 w_3 w_4 w_5 new_whale",
        "b.jpg,w_1 w_2 w_1",
        "c.jpg,w_1 w_9",
        "c.jpg,w_1",
        "d.jpg,",
        "z.jpg,w_1",
    )
    with pytest.raises(InputProblems, match="not ready") as error:
        check_ready(path, ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"], [f"w_{n}" for n in range(1, 6)])
    assert sorted(error.value.locations) == [
        "s.csv, line 2: 'a.jpg' has 6 labels; at most 5 are allowed",
        "s.csv, line 3: 'b.jpg' has a label twice: 'w_1 w_2 w_1'",
        "s.csv, line 4: 'c.jpg' has an unknown label: 'w_9'",
        "s.csv, line 5: 'c.jpg' is repeated: it is also in line 4",
        "s.csv, line 6: 'd.jpg' has no label",
        "s.csv, line 7: 'z.jpg' is not in test/",
        "s.csv: 'e.jpg' is missing",
    ]
