"""Failures: messages that name what was seen, the rule and the remedy, and batches that lose only their bad items."""

import pytest

from mmprm_hf.errors import (
    EngineUnavailableError,
    FolderInUseError,
    ProblemInputError,
    RequestRefusedError,
    RunStoppedError,
    SettingsDifferError,
    StorageFailedError,
    UnknownNameError,
    each_or_error,
)

MANY = [f"option_{number}" for number in range(20)]


def test_an_unknown_name_is_answered_with_close_matches_and_all_names_if_they_are_few():
    error = UnknownNameError("aggregation", "mim", ["min", "mean", "product"])
    assert str(error) == "Unknown aggregation 'mim'. Did you mean 'min'? Choose one of min, mean, product."
    error = UnknownNameError("aggregation", "xyz", ["min", "mean"], " in prm.yaml")
    assert str(error) == "Unknown aggregation 'xyz' in prm.yaml. Choose one of min, mean."
    assert str(UnknownNameError("option", "option_00", MANY)) == (
        "Unknown option 'option_00'. Did you mean 'option_0' or 'option_10' or 'option_9'?"
    )
    assert str(UnknownNameError("option", "xyz", MANY)).endswith(f"Choose one of {', '.join(MANY)}.")
    assert str(UnknownNameError("layout", 3, ["rows"])) == "Unknown layout '3'. Choose one of rows."


def test_more_names_may_be_known_where_the_error_is_caught():
    error = UnknownNameError("option", "num_row", ["seed"], " in run.yaml")
    assert error.message(["num_rows"]) == (
        "Unknown option 'num_row' in run.yaml. Did you mean 'num_rows'? Choose one of seed, num_rows."
    )
    assert error.message() == str(error)


def test_errors_name_what_is_at_fault():
    error = ProblemInputError("p7", "its figure is gone")
    assert (str(error), error.problem_id) == ("Problem 'p7': its figure is gone", "p7")
    refusal = RequestRefusedError(413, "too long")
    assert (refusal.status, refusal.message) == (413, "too long")
    assert str(refusal) == "The server refused the request with HTTP 413: too long"


def test_what_the_user_can_mend_is_a_value_error_and_what_stops_a_run_is_not():
    for kind in (UnknownNameError, SettingsDifferError, FolderInUseError, ProblemInputError, RequestRefusedError):
        assert issubclass(kind, ValueError)
    for kind in (EngineUnavailableError, RunStoppedError, StorageFailedError):
        assert issubclass(kind, RuntimeError) and not issubclass(kind, ValueError)
    assert issubclass(StorageFailedError, RunStoppedError)


def test_one_bad_item_of_a_batch_costs_only_itself():
    calls = []

    def halves(numbers):
        calls.append(list(numbers))
        if any(number % 2 for number in numbers):
            raise ValueError(f"odd: {numbers}")
        return tuple(number // 2 for number in numbers)

    assert each_or_error(halves, (8, 6)) == [4, 3] and calls == [[8, 6]]
    calls.clear()
    first, error, last = each_or_error(halves, [4, 3, 2])
    assert (first, last) == (2, 1) and isinstance(error, ValueError) and str(error) == "odd: [3]"
    assert calls == [[4, 3, 2], [4], [3], [2]]
    calls.clear()
    (error,) = each_or_error(halves, [5])
    assert str(error) == "odd: [5]" and calls == [[5]]  # one item is not tried twice
    calls.clear()
    assert each_or_error(halves, []) == [] and calls == []


def test_an_error_that_is_nobodys_fault_passes():
    def unavailable(items):
        raise EngineUnavailableError("gone")

    with pytest.raises(EngineUnavailableError, match="gone"):
        each_or_error(unavailable, [1, 2])
