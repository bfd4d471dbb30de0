# SPDX-License-Identifier: GPL-2.0-only
"""Hypothesis looks for a sequence on which the model and the tree differ, and shrinks it itself."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.userspace.conftest import KERNELS, geometry_of, program_of
from toolkit.deadline import Deadline
from toolkit.userspace.library import Request, Row, open_library
from toolkit.userspace.sim import compare

pytestmark = pytest.mark.kernel

# Few objects and few sizes, so that they meet: 5 objects a zspage, 3 in 2 pages, whole pages.
IDENTITIES = st.integers(0, 11)
SIZES = st.sampled_from([800, 2700, 4096])

NONE = st.just(0)


def request(
    *kinds: Request,
    a: st.SearchStrategy[int] = NONE,
    b: st.SearchStrategy[int] = NONE,
    c: st.SearchStrategy[int] = NONE,
) -> st.SearchStrategy[Row]:
    return st.tuples(st.sampled_from([int(kind) for kind in kinds]), a, b, c)


ANY_REQUEST = st.one_of(
    request(Request.MALLOC, b=SIZES, c=IDENTITIES),
    request(Request.FREE, Request.REWRITE, Request.ISOLATE, c=IDENTITIES),
    request(Request.MIGRATE, Request.MOVE, Request.PUTBACK, b=st.integers(0, 2)),
    request(Request.COMPACT, Request.RUN_WORK, Request.DESTROY, Request.CREATE),
    request(Request.FAIL_PAGE, b=st.integers(0, 3)),
)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(ANY_REQUEST, max_size=80))
def test_no_sequence_of_requests_tells_the_model_from_the_tree(kernel: str, requests: list[Row]) -> None:
    made = geometry_of(kernel, 4096)
    with open_library(program_of(kernel, 4096), deadline=Deadline.after(120)) as library:
        found = compare(library, made, [(Request.CREATE, 0, 0, 0), *requests])
    assert found is None, found.as_pytest(made)
