"""What a row says beside its picture."""

from dataclasses import fields

import numpy as np

from hifrac.core.evidence import Evidence


def test_nothing_is_known_without_a_table():
    evidence = Evidence.none(3)
    assert len(evidence) == 3
    assert all(np.isnan(getattr(evidence, field.name)).all() for field in fields(evidence))


def test_rows_are_of_every_quantity():
    evidence = Evidence(*(np.arange(3.0) + 10 * k for k in range(len(fields(Evidence)))))
    part = evidence[[2, 0]]
    assert len(part) == 2
    for k, field in enumerate(fields(evidence)):
        np.testing.assert_array_equal(getattr(part, field.name), np.array([2.0, 0.0]) + 10 * k)
