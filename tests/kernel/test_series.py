# SPDX-License-Identifier: GPL-2.0-only
"""Series are read strictly, applied deterministically, and a failure is told to the hunk."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.kernel.conftest import ZSMALLOC, git
from toolkit import places
from toolkit.errors import ApplyError, SeriesError, UnknownNameError
from toolkit.kernel import series
from toolkit.kernel.build import BuildInputs
from toolkit.kernel.series import Series
from toolkit.kernel.source import Tree

DIFF = """\
--- a/mm/zsmalloc.c
+++ b/mm/zsmalloc.c
@@ -1,4 +1,4 @@
 line 1
-line 2
+line two
 line 3
 line 4
"""
SECOND = """\
diff --git a/mm/zsmalloc.c b/mm/zsmalloc.c
--- a/mm/zsmalloc.c
+++ b/mm/zsmalloc.c
@@ -1,5 +1,5 @@
 line 1
 line two
-line 3
+line three
 line 4
 line 5
diff --git a/mm/new.c b/mm/new.c
new file mode 100644
--- /dev/null
+++ b/mm/new.c
@@ -0,0 +1 @@
+int new;
"""


def _mail(subject: str, diff: str, body: str = "Because.\n") -> str:
    return (
        "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"
        "From: A User <user@example.org>\nDate: Mon, 4 Oct 2021 10:00:00 +0000\n"
        f"Subject: {subject}\n\n{body}---\n mm/zsmalloc.c | 2 +-\n\n{diff}-- \n2.39.5\n\n"
    )


def _apply(tree: Tree, name: Path | Series) -> Tree:
    found = series.load(str(name)) if isinstance(name, Path) else name
    return series.apply(tree, found, progress=lambda _: None)


def _file(tree: Tree, path: str) -> str | None:
    return tree.repository.show(tree.commit, path)


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of declared series with one in it, ported to 6.1."""
    top = tmp_path / "patches"
    port = top / "owner" / "6.1"
    port.mkdir(parents=True)
    (top / "owner/series.toml").write_text(
        'title = "Owner"\nvariant = "owner"\nconfig = ["CONFIG_X=y"]\n[kernels."6.1"]\nbase = "6.1.190"\n',
        encoding="utf-8",
    )
    (port / "0001-two.patch").write_text(_mail("[PATCH 1/2] mm: two", DIFF), encoding="utf-8")
    (port / "0002-three.patch").write_text(_mail("[PATCH 2/2] mm: three", SECOND), encoding="utf-8")
    (port / "series").write_text(
        "# in this order\n0001-two.patch\n\n0002-three.patch -p1 # new\n", encoding="utf-8"
    )
    monkeypatch.setattr(places, "declared", lambda kind: tmp_path / kind)
    return top


def test_a_declared_series_is_applied_a_commit_for_each_patch(tree: Tree, declared: Path) -> None:
    found = series.load("owner")
    assert (found.title, found.variant, found.config) == ("Owner", "owner", ("CONFIG_X=y",))
    patches = found.patches("6.1")
    assert [patch.subject for patch in patches] == ["mm: two", "mm: three"]
    assert patches[1].files == ("mm/zsmalloc.c", "mm/new.c")
    assert patches[0].message == "mm: two\n\nBecause."
    told: list[str] = []
    after = series.apply(tree, found, progress=told.append)
    assert told == ["applying 0001-two.patch", "applying 0002-three.patch"]
    assert (_file(after, "mm/zsmalloc.c") or "").startswith("line 1\nline two\nline three\nline 4\n")
    assert _file(after, "mm/new.c") == "int new;\n"
    log = after.repository.git("log", "--format=%s", after.commit).stdout.splitlines()
    assert log[:2] == ["mm: three", "mm: two"]
    assert len(log) == 3


def test_applying_again_gives_the_same_ids_without_applying(tree: Tree, declared: Path) -> None:
    first = _apply(tree, series.load("owner"))
    told: list[str] = []
    assert series.apply(tree, series.load("owner"), progress=told.append) == first
    assert told == []


def test_ids_do_not_depend_on_day_or_user(
    tree: Tree, declared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = _apply(tree, series.load("owner"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody Else")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "@1700000000 +0200")
    from toolkit.kernel import source

    again = source.fetch(source.load(str(tmp_path / "linux")), progress=lambda _: None)
    assert again.git_dir != tree.git_dir
    assert _apply(again, series.load("owner")).commit == first.commit


def test_the_baseline_is_the_tree_as_it_is(tree: Tree) -> None:
    none = series.load("none")
    assert none.patches("6.1") == ()
    assert _apply(tree, none) == tree


def test_a_series_that_was_made_for_another_version_says_so(tree: Tree, declared: Path) -> None:
    assert series.drift(tree, series.load("owner")) == "owner was made for 6.1.190"
    assert series.drift(tree, series.load("none")) == ""


def test_a_series_without_a_port_says_which_it_has(tree: Tree, declared: Path) -> None:
    with pytest.raises(SeriesError, match=r"the series owner has no port to 6\.12") as caught:
        series.load("owner").patches("6.12")
    assert "it is ported to 6.1;" in caught.value.hint


@pytest.fixture
def census(declared: Path) -> Path:
    """A second series, with a patch for what the first one made, of no variant."""
    port = declared / "census" / "6.1"
    port.mkdir(parents=True)
    (declared / "census/series.toml").write_text(
        'title = "Census"\nconfig = ["CONFIG_Y=y"]\n[kernels."6.1"]\nbase = "6.1.190"\n'
        '[kernels."6.12"]\nbase = "6.12.1"\n',
        encoding="utf-8",
    )
    diff = DIFF.replace("+line two", "+line 22").replace("-line 2", "-line two")
    diff = diff.replace(" line 3", " line three")
    (port / "0001-count.patch").write_text(_mail("[PATCH] mm: count", diff), encoding="utf-8")
    return declared


def test_a_series_can_be_put_on_top_of_another(tree: Tree, census: Path) -> None:
    both = series.load("owner+census")
    assert (both.name, both.title, both.variant) == ("owner+census", "Owner, then Census", "owner")
    assert both.config == ("CONFIG_X=y", "CONFIG_Y=y")
    assert sorted(both.kernels) == ["6.1"]
    assert [patch.subject for patch in both.patches("6.1")] == ["mm: two", "mm: three", "mm: count"]
    after = _apply(tree, both)
    assert (_file(after, "mm/zsmalloc.c") or "").startswith("line 1\nline 22\nline three\n")
    assert series.drift(after, both) == "owner+census was made for 6.1.190"
    with pytest.raises(SeriesError, match=r"the series owner has no port to 6\.12"):
        both.patches("6.12")


def test_first_patches_are_those_of_the_whole_stack_or_of_a_part(tree: Tree, census: Path) -> None:
    assert _apply(tree, series.load("owner+census@2")).tree_id == _apply(tree, series.load("owner")).tree_id
    whole = _apply(tree, series.load("owner+census")).tree_id
    assert _apply(tree, series.load("owner@2+census")).tree_id == whole
    assert series.load("owner@1+census").variant == ""


def test_a_series_can_say_what_it_goes_on_top_of(tree: Tree, census: Path) -> None:
    stacked = _apply(tree, series.load("owner+census"))
    toml = census / "census/series.toml"
    toml.write_text(f'on = "owner"\n{toml.read_text(encoding="utf-8")}', encoding="utf-8")
    found = series.load("census")
    assert (found.name, found.title, found.variant) == ("census", "Census", "owner")
    assert sorted(found.kernels) == ["6.1"]
    assert _apply(tree, found).tree_id == stacked.tree_id


def test_what_cannot_be_stacked_is_refused(tree: Tree, census: Path) -> None:
    with pytest.raises(UnknownNameError, match="ownr"):
        series.load("ownr+census")
    with pytest.raises(ApplyError, match=r"0001-count\.patch"):
        _apply(tree, series.load("none+census"))
    toml = census / "census/series.toml"
    toml.write_text(f'variant = "compound"\n{toml.read_text(encoding="utf-8")}', encoding="utf-8")
    with pytest.raises(SeriesError, match=r"owner\+census is of the variants compound and owner at once"):
        series.load("owner+census")


def test_names_are_those_with_a_series_toml_and_the_baseline(declared: Path) -> None:
    (declared / "faults/6.1").mkdir(parents=True)
    assert series.names() == ("none", "owner")
    with pytest.raises(UnknownNameError) as caught:
        series.load("ownr")
    assert caught.value.hint == "did you mean 'owner'?"
    with pytest.raises(SeriesError, match="no such series"):
        series.load("./ownr.patch")


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("0001-two.patch\n", "does not list 0002-three.patch"),
        ("0001-two.patch\n0002-three.patch\n0003-x.patch\n", ":3: there is no patch 0003-x.patch"),
        ("0001-two.patch -p0\n0002-three.patch\n", ":1: only -p1 is understood, not -p0"),
        ("../0001-two.patch\n", ":1: ../0001-two.patch is outside the directory"),
    ],
)
def test_a_quilt_series_file_that_is_not_true_is_refused(declared: Path, listing: str, message: str) -> None:
    (declared / "owner/6.1/series").write_text(listing, encoding="utf-8")
    with pytest.raises(SeriesError) as caught:
        series.load("owner").patches("6.1")
    assert message in caught.value.message


def test_plain_diff_directory_and_mbox_are_series_too(tree: Tree, declared: Path, tmp_path: Path) -> None:
    expected = _apply(tree, series.load("owner")).tree_id
    (tmp_path / "one.diff").write_text(DIFF, encoding="utf-8")
    assert (_file(_apply(tree, tmp_path / "one.diff"), "mm/zsmalloc.c") or "").startswith(
        "line 1\nline two\n"
    )
    assert _apply(tree, declared / "owner/6.1").tree_id == expected
    (declared / "owner/6.1/series").unlink()
    assert _apply(tree, declared / "owner/6.1").tree_id == expected
    mbox = tmp_path / "series.mbox"
    # Out of order, with a cover letter and an answer, as a mailer stores a thread.
    mbox.write_text(
        _mail("[PATCH v3 2/2] mm: three", SECOND)
        + _mail("[PATCH v3 0/2] mm: numbers", "")
        + _mail("[PATCH v3 1/2] mm: two", DIFF)
        + _mail("Re: [PATCH v3 1/2] mm: two", "> -line 2\n> +line two\n\nFine.\n"),
        encoding="utf-8",
    )
    patches = series.load(str(mbox)).patches("6.1")
    assert [patch.name for patch in patches] == ["0001-mm-two.patch", "0002-mm-three.patch"]
    assert _apply(tree, mbox).tree_id == expected


def test_a_maildir_is_ordered_by_the_numbers_of_its_subjects(
    tree: Tree, declared: Path, tmp_path: Path
) -> None:
    expected = _apply(tree, series.load("owner")).tree_id
    for part in ("cur", "new", "tmp"):
        (tmp_path / "mails" / part).mkdir(parents=True)
    base = "base-commit: " + "a1" * 20 + "\n"
    (tmp_path / "mails/cur/1.b:2,S").write_text(_mail("[PATCH 2/2] mm: three", SECOND), encoding="utf-8")
    (tmp_path / "mails/new/2.a").write_text(_mail("[PATCH 1/2] mm: two", DIFF), encoding="utf-8")
    (tmp_path / "mails/new/3.a").write_text(_mail("[PATCH 0/2] mm: numbers", base), encoding="utf-8")
    found = series.load(str(tmp_path / "mails"))
    assert [patch.name for patch in found.patches("6.1")] == ["0001-mm-two.patch", "0002-mm-three.patch"]
    assert found.base_commit == "a1" * 20
    assert _apply(tree, found).tree_id == expected
    (tmp_path / "mails/cur/1.b:2,S").unlink()
    (tmp_path / "mails/new/2.a").unlink()
    with pytest.raises(SeriesError, match="holds no patch"):
        series.load(str(tmp_path / "mails"))


def test_a_git_range_an_mbox_and_a_quilt_directory_give_the_same_store_key(
    tree: Tree, user_tree: Path, declared: Path, tmp_path: Path
) -> None:
    """The key hashes the tree after applying and the configuration, never how either was given."""
    for number, diff in enumerate((DIFF, SECOND), 1):
        (tmp_path / "diff").write_text(diff, encoding="utf-8")
        git(user_tree, "apply", "--index", str(tmp_path / "diff"))
        git(user_tree, "commit", "--quiet", "--message", f"mm: step {number}")
    mbox = tmp_path / "series.mbox"
    mbox.write_text(git(user_tree, "format-patch", "--stdout", "HEAD~2..HEAD") + "\n", encoding="utf-8")
    forms = [f"{user_tree}@HEAD~2..HEAD", str(mbox), str(declared / "owner/6.1"), "owner"]
    trees = [_apply(tree, series.load(form)) for form in forms]
    keys = {BuildInputs(one.tree_id, "0" * 64, "x86_64", "gcc").key for one in trees}
    assert len(keys) == 1
    assert trees[0].tree_id != tree.tree_id
    assert [patch.subject for patch in series.load(forms[0]).patches("6.1")] == ["mm: step 1", "mm: step 2"]


def test_a_range_that_is_empty_or_unknown_is_told(user_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match=r"has no commit in 'HEAD\.\.HEAD'"):
        series.load(f"{user_tree}@HEAD..HEAD")
    with pytest.raises(SeriesError, match=r"has no range 'v1\.\.v2'"):
        series.load(f"{user_tree}@v1..v2")
    (tmp_path / "plain").mkdir()
    with pytest.raises(SeriesError, match="is no git tree"):
        series.load(f"{tmp_path}/plain@a..b")


def test_a_number_behind_the_name_takes_the_first_patches(tree: Tree, declared: Path) -> None:
    assert _apply(tree, series.load("owner@0")).tree_id == tree.tree_id
    first = series.load(series.prefix("owner", 1))
    assert (first.name, first.variant, first.config) == ("owner@1", "", ("CONFIG_X=y",))
    assert [patch.subject for patch in first.patches("6.1")] == ["mm: two"]
    assert _apply(tree, series.load("owner@2")) == _apply(tree, series.load("owner"))
    with pytest.raises(SeriesError, match="owner@3: it has only 2 patches"):
        series.load("owner@3").patches("6.1")
    with pytest.raises(UnknownNameError) as caught:
        series.load("ownr@3")
    assert caught.value.hint == "did you mean 'owner'?"


def test_a_patch_that_does_not_apply_tells_the_base_its_mail_names(tree: Tree, tmp_path: Path) -> None:
    text = _mail("[PATCH] mm: x", DIFF.replace("line 2", "line Z"), f"base-commit: {'b2' * 20}\n")
    (tmp_path / "x.patch").write_text(text, encoding="utf-8")
    with pytest.raises(ApplyError) as caught:
        _apply(tree, tmp_path / "x.patch")
    assert "made for b2b2b2b2b2b2" in caught.value.hint


def test_b4_that_finds_nothing_is_told_as_trouble_of_the_message_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b4 = tmp_path / "bin/b4"
    b4.parent.mkdir()
    b4.write_text("#!/bin/sh\necho 'Unable to find it' >&2\nexit 1\n", encoding="utf-8")
    b4.chmod(0o755)
    monkeypatch.setenv("PATH", f"{b4.parent}:{os.environ['PATH']}")
    with pytest.raises(SeriesError, match=r"b4 finds no series for 1@example\.org") as caught:
        series.load("lore:<1@example.org>")
    assert caught.value.detail == "Unable to find it"


def test_what_b4_collects_is_applied(
    tree: Tree, declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b4 = tmp_path / "bin/b4"
    b4.parent.mkdir()
    mbox = tmp_path / "mbox"
    mbox.write_text(_mail("[PATCH 1/2] mm: two", DIFF) + _mail("[PATCH 2/2] mm: three", SECOND), "utf-8")
    # b4 --no-interactive am --no-cover --outdir DIR -- ID
    b4.write_text(f'#!/bin/sh\n[ "$7" = 1@example.org ] && cp {mbox} "$5/series.mbx"\n', encoding="utf-8")
    b4.chmod(0o755)
    monkeypatch.setenv("PATH", f"{b4.parent}:{os.environ['PATH']}")
    expected = _apply(tree, series.load("owner")).tree_id
    assert _apply(tree, series.load("lore:1@example.org")).tree_id == expected


def test_a_mail_with_a_transfer_encoding_and_dos_lines_is_decoded(tree: Tree, tmp_path: Path) -> None:
    head = (
        "From: A User <user@example.org>\nSubject: [PATCH] =?utf-8?q?m=C3=A4?=\n the second\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: base64\n\n"
    )
    body = base64.encodebytes(f"Why.\n---\n{DIFF}".replace("\n", "\r\n").encode()).decode()
    (tmp_path / "mail.patch").write_text((head + body).replace("\n", "\r\n"), encoding="utf-8")
    (patch,) = series.load(str(tmp_path / "mail.patch")).patches("6.1")
    assert patch.subject == "mä the second"
    assert patch.message == "mä the second\n\nWhy."
    assert (_file(_apply(tree, tmp_path / "mail.patch"), "mm/zsmalloc.c") or "").startswith(
        "line 1\nline two\n"
    )


def test_a_patch_applies_at_an_offset(tree: Tree, tmp_path: Path) -> None:
    moved = DIFF.replace("@@ -1,4 +1,4 @@", "@@ -6,4 +6,4 @@")
    for old, new in (
        ("line 1", "line 21"),
        ("-line 2", "-line 22"),
        ("line 3", "line 23"),
        ("line 4", "line 24"),
    ):
        moved = moved.replace(f"{old}\n", f"{new}\n")
    (tmp_path / "x.patch").write_text(moved, encoding="utf-8")
    assert "line 21\nline two\nline 23\n" in (
        _file(_apply(tree, tmp_path / "x.patch"), "mm/zsmalloc.c") or ""
    )


def test_a_patch_for_a_changed_context_is_merged_three_way(
    tree: Tree, user_tree: Path, tmp_path: Path
) -> None:
    """Its index line names a blob that we know: the tree it was made for."""
    from toolkit.kernel import source

    (user_tree / "mm/zsmalloc.c").write_text(ZSMALLOC.replace("line 12\n", "line twelve\n"), encoding="utf-8")
    (tmp_path / "x.patch").write_text(git(user_tree, "diff", "--full-index") + "\n", encoding="utf-8")
    (user_tree / "mm/zsmalloc.c").write_text(ZSMALLOC.replace("line 10\n", "line ten\n"), encoding="utf-8")
    changed = source.fetch(source.load(str(user_tree)), progress=lambda _: None)
    told: list[str] = []
    after = series.apply(changed, series.load(str(tmp_path / "x.patch")), progress=told.append)
    assert "applied x.patch with a 3-way merge" in told
    assert "line ten\nline 11\nline twelve\n" in (_file(after, "mm/zsmalloc.c") or "")


def test_a_patch_that_does_not_apply_is_told_with_every_failed_hunk(tree: Tree, tmp_path: Path) -> None:
    good = "@@ -1,4 +1,4 @@\n line 1\n-line 2\n+line two\n line 3\n line 4\n"
    bad = "@@ -20,3 +20,3 @@ some function\n line 20\n-line X\n+line Y\n line 22\n"
    worse = "@@ -30,3 +30,3 @@\n line 30\n-line P\n+line Q\n line 32\n"
    head = "--- a/mm/zsmalloc.c\n+++ b/mm/zsmalloc.c\n"
    (tmp_path / "0001-bad.patch").write_text(head + good + bad + worse, encoding="utf-8")
    with pytest.raises(ApplyError) as caught:
        _apply(tree, tmp_path / "0001-bad.patch")
    error = caught.value
    assert (error.patch, error.file) == ("0001-bad.patch", "mm/zsmalloc.c")
    assert error.hunk.startswith("@@ -20,3 +20,3 @@")
    assert "-line X" in error.detail
    assert "-line P" in error.detail
    assert "line two" not in error.detail
    assert error.hint == "rebase the patch onto this tree"
    assert error.exit_status == 2


def test_a_patch_that_is_in_the_tree_already_is_called_so(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text(DIFF, encoding="utf-8")
    after = _apply(tree, tmp_path / "x.patch")
    with pytest.raises(ApplyError) as caught:
        _apply(after, tmp_path / "x.patch")
    assert caught.value.hint == "this tree has it already"


def test_a_patch_to_a_file_that_is_not_there_names_the_file(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text(DIFF.replace("zsmalloc.c", "absent.c"), encoding="utf-8")
    with pytest.raises(ApplyError) as caught:
        _apply(tree, tmp_path / "x.patch")
    assert caught.value.file == "mm/absent.c"
    assert caught.value.detail == "the tree has no mm/absent.c"


def test_a_failed_series_leaves_nothing_that_a_later_one_would_find(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/0001-good.patch").write_text(DIFF, encoding="utf-8")
    (tmp_path / "a/0002-bad.patch").write_text(DIFF, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ApplyError, match=r"0002-bad\.patch"):
            _apply(tree, tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        (DIFF.replace(" line 4\n", ""), "x.patch:", "malformed patch"),
        (DIFF.replace("@@ -1,4 +1,4 @@", "@@ -1,x +1,4 @@"), "x.patch:", "malformed patch"),
        (DIFF.replace("+++ b/mm/zsmalloc.c\n", ""), "x.patch:", "malformed patch"),
        (DIFF.replace(" line 3", "?line 3"), "x.patch:", "malformed patch"),
        (DIFF.replace("b/mm", "b/../mm"), "x.patch:2:", "'../mm/zsmalloc.c' leaves the tree"),
        (DIFF.replace("a/mm", "/etc"), "x.patch:1:", "'/etc/zsmalloc.c' leaves the tree"),
        (DIFF.replace("mm/zsmalloc.c", ".git/config"), "x.patch:1:", "'.git/config' leaves the tree"),
        (DIFF.replace("mm/zsmalloc.c", "mm/.GIT/config"), "x.patch:1:", "'mm/.GIT/config' leaves the tree"),
        (
            "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n",
            "x.patch:2:",
            "creates a symbolic link",
        ),
        (
            "diff --git a/l b/l\nnew file mode 160000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+Sub\n",
            "x.patch:2:",
            "creates a submodule",
        ),
        (
            "diff --git a/mm/x.c b/../z.c\nsimilarity index 100%\nrename from mm/x.c\nrename to ../z.c\n",
            "x.patch:1:",
            "leaves the tree",
        ),
    ],
)
def test_a_malformed_or_escaping_patch_is_refused_with_its_line(
    tmp_path: Path, text: str, where: str, message: str
) -> None:
    (tmp_path / "x.patch").write_text(text, encoding="utf-8")
    with pytest.raises(SeriesError) as caught:
        series.load(str(tmp_path / "x.patch"))
    assert caught.value.message.startswith(where)
    assert message in caught.value.message


def test_a_removed_line_that_looks_like_a_header_is_no_path(tmp_path: Path) -> None:
    text = "--- a/x\n+++ b/x\n@@ -1,2 +1,1 @@\n--- /etc/passwd\n keep\n"
    (tmp_path / "x.patch").write_text(text, encoding="utf-8")
    (patch,) = series.load(str(tmp_path / "x.patch")).patches("6.1")
    assert patch.files == ("x",)


@pytest.mark.parametrize("text", ["", "just words\n", "From: A <a@example.org>\nSubject: x\n\nno diff\n"])
def test_a_file_without_a_diff_is_no_series(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.patch").write_text(text, encoding="utf-8")
    with pytest.raises(SeriesError, match="holds no patch"):
        series.load(str(tmp_path / "x.patch"))


def test_an_empty_directory_is_no_series(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="holds no patches"):
        series.load(f"{tmp_path}/")


def test_renames_modes_and_deletions_are_understood(tree: Tree, user_tree: Path, tmp_path: Path) -> None:
    git(user_tree, "mv", "mm/zsmalloc.c", "mm/moved.c")
    (user_tree / "Makefile").chmod(0o755)
    git(user_tree, "rm", "--quiet", "Kconfig")
    git(user_tree, "add", "--all")
    (tmp_path / "x.patch").write_text(
        git(user_tree, "diff", "--cached", "--find-renames") + "\n", encoding="utf-8"
    )
    after = _apply(tree, tmp_path / "x.patch")
    assert after.tree_id == git(user_tree, "write-tree")


_DECLARED = [(name, line) for name in series.names() for line in sorted(series.load(name).kernels)]


@pytest.mark.parametrize(("name", "line"), _DECLARED or [pytest.param("none", "6.1", id="none")])
def test_every_declared_port_can_be_read(name: str, line: str) -> None:
    patches = series.load(name).patches(line)
    assert name == "none" or patches
    assert all(patch.subject and patch.files for patch in patches)
