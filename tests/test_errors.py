# SPDX-License-Identifier: GPL-2.0-only
"""Every error has an owner, and so an exit status."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from toolkit import errors


def _all() -> list[type[errors.PagelessError]]:
    found = [value for value in vars(errors).values() if inspect.isclass(value)]
    return [value for value in found if issubclass(value, errors.PagelessError)]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = dict.fromkeys(re.findall(r"[A-Z]\w+Error", errors.__doc__ or ""))
    assert set(drawn) == {error.__name__ for error in _all()}
    depth = {
        match[2]: (len(match[1]) + 3) // 4
        for match in re.finditer(r"^    ((?:[│├└─ ]{4})*)(\w+Error)", errors.__doc__ or "", re.MULTILINE)
    }
    for error in _all():
        assert depth[error.__name__] == len(error.__mro__) - len(errors.PagelessError.__mro__), error


@pytest.mark.parametrize(
    ("owner", "status"),
    [
        (errors.InputError, 2),
        (errors.ExpectationError, 1),
        (errors.GuestError, 3),
        (errors.HostError, 125),
    ],
)
def test_each_owner_has_one_exit_status(owner: type[errors.PagelessError], status: int) -> None:
    statuses = {error.exit_status for error in _all() if issubclass(error, owner)}
    assert statuses == {status}


def test_an_unknown_name_hints_at_the_nearest_else_at_all() -> None:
    near = errors.UnknownNameError("kernel", "lates", ("6.1", "latest"))
    assert str(near) == "unknown kernel 'lates'"
    assert near.hint == "did you mean 'latest'?"
    far = errors.UnknownNameError("kernel", "windows", ("6.12", "6.1"))
    assert far.hint == "known: 6.1, 6.12"
    assert errors.UnknownNameError("kernel", "x", ()).hint == "known: none"


def test_a_declaration_error_points_at_its_line() -> None:
    assert str(errors.DeclarationError(Path("a.toml"), "no", line=3)) == "a.toml:3: no"
    assert str(errors.DeclarationError(Path("a.toml"), "no")) == "a.toml: no"


def test_an_apply_error_names_patch_file_and_hunk() -> None:
    error = errors.ApplyError("0001-x.patch", "mm/x.c", "@@ -1 +1 @@", detail="the rejects")
    assert str(error) == "0001-x.patch does not apply: mm/x.c, hunk @@ -1 +1 @@"
    assert str(errors.ApplyError("0001-x.patch", "mm/x.c", "")) == "0001-x.patch does not apply: mm/x.c"


def test_of_a_script_a_message_has_the_beginning_only() -> None:
    script = "cd /sys\n" + "\n".join(f"echo {n} >state" for n in range(100))
    error = errors.CommandError(script, 1, "")
    assert error.message.startswith("in the guest, 'cd /sys echo 0 >state echo 1")
    assert error.message.endswith(" ...' ended with status 1")
    assert error.command == script
