import operator

import pytest

from tfface.data import workers


def test_jobs_are_taken_as_results_are_yielded():
    taken = []

    def jobs():
        for number in range(40):
            taken.append(number)
            yield number

    with workers.pool(1000, workers=2) as run:
        found = []
        for result in run(operator.add, jobs()):
            found.append(result)
            assert len(taken) <= len(found) + 2 * workers._JOBS_AHEAD
        assert sorted(found) == list(range(1000, 1040))
        assert list(run(operator.add, [])) == []


def test_what_a_job_raises_is_raised():
    with workers.pool(1, workers=1) as run, pytest.raises(ZeroDivisionError):
        list(run(operator.floordiv, [1, 0, 1]))
