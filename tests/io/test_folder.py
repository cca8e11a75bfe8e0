import errno
import hashlib
import os
import resource
import stat
import subprocess
import sys

import pytest

from vermilion.errors import OutputError, OutputExistsError, OutputReadOnlyError, ParameterError
from vermilion.io.writers import OutputFolder, slug


def text(content):
    return lambda path: path.write_text(content)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_product_is_complete_when_its_name_appears(tmp_path):
    with OutputFolder(tmp_path / "out") as folder:

        def producer(path):
            path.write_text("first half")
            assert not (folder.path / "a.txt").exists()
            assert path.parent == folder.path
            assert path.name.startswith(".")
            with open(path, "a") as stream:
                stream.write(", second half")

        assert folder.write("a.txt", producer) == folder.path / "a.txt"
    assert (tmp_path / "out" / "a.txt").read_text() == "first half, second half"


def test_done_comes_last_and_the_manifest_lists_every_product_but_the_log(tmp_path):
    with OutputFolder(tmp_path / "out") as folder:
        folder.write("b.txt", text("b"))
        folder.write("figures/a.png", text("a"))
        (folder.path / "run.log").write_text("elapsed 3 s")
        folder.finish("converged")
        manifest, done = folder.path / "manifest.sha256", folder.path / "DONE"
        assert done.stat().st_mtime_ns >= manifest.stat().st_mtime_ns
    digests = {name: hashlib.sha256(name[-5].encode()).hexdigest() for name in ("b.txt", "figures/a.png")}
    assert manifest.read_text() == "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    assert done.read_text() == "converged\n"
    assert names(tmp_path / "out") == ["DONE", "b.txt", "figures", "manifest.sha256", "run.log"]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt(), ParameterError("wrong")])
def test_a_failed_product_leaves_the_old_file_and_no_temporary(tmp_path, failure):
    def producer(path):
        path.write_text("half of it")
        raise failure

    with OutputFolder(tmp_path / "out") as folder:
        folder.write("a.txt", text("old"))
        expected = OutputError if isinstance(failure, OSError) else type(failure)
        with pytest.raises(expected) as caught:
            folder.write("a.txt", producer)
    if expected is OutputError:
        assert (
            str(caught.value)
            == f"{folder.path / 'a.txt'} was not written: No space left on device; free some space or choose another folder."
        )
        assert caught.value.exit_code == 6
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    assert names(tmp_path / "out") == ["a.txt"]


def test_a_file_system_that_takes_no_more_leaves_the_old_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with OutputFolder(tmp_path / "out") as folder:
        folder.write("a.bin", lambda path: path.write_bytes(b"old"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        try:
            with pytest.raises(OutputError, match="File too large"):
                folder.write("a.bin", lambda path: path.write_bytes(bytes(1 << 17)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "out" / "a.bin").read_bytes() == b"old"
    assert names(tmp_path / "out") == ["a.bin"]


@pytest.mark.parametrize(
    "name", ["../a.txt", "/elsewhere/a.txt", "figures/../../a.txt", ".hidden", "a/.b", "", "a b", "a\n", "-rf", "a\0b", "é.txt", "x" * 201]
)
def test_a_name_cannot_lead_out_of_the_folder(tmp_path, name):
    with OutputFolder(tmp_path / "out") as folder, pytest.raises(OutputError, match="cannot name a product"):
        folder.write(name, text(""))


def test_a_link_cannot_lead_out_of_the_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with OutputFolder(tmp_path / "out") as folder:
        (folder.path / "figures").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OutputError, match="cannot name a product"):
            folder.write("figures/maps.png", text(""))
    assert names(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(
    "hostile", ["../../etc/x", "-rf", "a\0b", "x" * 300, "", "...", "<script>", "Abell 478 (DATA)", "été", "/", "$(reboot)"]
)
def test_every_slug_is_a_name_that_write_takes(tmp_path, hostile):
    with OutputFolder(tmp_path / "out") as folder:
        folder.write(f"{slug(hostile)}.txt", text("seen"))
        assert names(folder.path)[1:] == [f"{slug(hostile)}.txt"]


def test_check_creates_nothing(tmp_path):
    OutputFolder(tmp_path / "out").check()
    assert names(tmp_path) == []


def test_an_empty_folder_is_accepted(tmp_path):
    OutputFolder(tmp_path).check()


def test_a_folder_that_holds_something_is_refused_unless_overwriting(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"is not empty \(mine.txt\): choose another folder or give --overwrite"):
        OutputFolder(tmp_path).check()
    OutputFolder(tmp_path, overwrite=True).check()
    assert names(tmp_path) == ["mine.txt"]


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file, expected a folder"):
        OutputFolder(tmp_path / "out", overwrite=True).check()
    with pytest.raises(OutputError, match="cannot be an output folder"):
        OutputFolder(tmp_path / "out" / "deeper").check()


def test_a_missing_parent_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"parent folder .*missing of .* does not exist: create it first"):
        OutputFolder(tmp_path / "missing" / "out").check()
    assert names(tmp_path) == []


@pytest.mark.parametrize("path", ["a\0b", "loop/out", "dangling", "x" * 300])
def test_a_path_that_leads_nowhere_is_refused(tmp_path, path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    with pytest.raises(OutputError, match="cannot be an output folder"):
        OutputFolder(f"{tmp_path}/{path}").check()


@pytest.mark.parametrize("inner", ["", "out"])
def test_a_folder_without_write_permission_is_refused_even_to_root(tmp_path, inner):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    with pytest.raises(OutputReadOnlyError, match="may not be written"):
        OutputFolder(locked / inner).check()
    locked.chmod(0o755)
    assert names(locked) == []


def test_overwriting_removes_done_before_the_first_product_and_keeps_unknown_files(tmp_path):
    with OutputFolder(tmp_path / "out") as folder:
        for k in range(3):
            folder.write(f"spectrum_{k}.txt", text(f"spectrum {k}"))
        folder.finish("converged")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    (tmp_path / "out" / "spectrum_2.txt").write_text("changed by the user")
    with OutputFolder(tmp_path / "out", overwrite=True) as folder:
        assert (folder.path / "DONE").exists()
        seen = folder.write("spectrum_0.txt", lambda path: path.write_text(str((folder.path / "DONE").exists())))
        assert seen.read_text() == "False"
        folder.finish("converged")
    # spectrum_1 is an untouched product of the earlier run, and would be taken for one of this run
    assert names(tmp_path / "out") == ["DONE", "manifest.sha256", "mine.txt", "spectrum_0.txt", "spectrum_2.txt"]
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_temporaries_of_dead_runs_do_not_count_and_are_removed(tmp_path):
    (tmp_path / ".components.fits.123.tmp").write_text("half")
    (tmp_path / ".vermilion.lock").write_text("123\n")
    with OutputFolder(tmp_path) as folder:
        folder.write("a.txt", text("a"))
    assert names(tmp_path) == ["a.txt"]


def test_a_manifest_of_somebody_else_removes_nothing_outside(tmp_path):
    (tmp_path / "victim").write_text("victim")
    (tmp_path / "out").mkdir()
    digest = hashlib.sha256(b"victim").hexdigest()
    (tmp_path / "out" / "manifest.sha256").write_text(f"{digest}  ../victim\n{digest}  {tmp_path}/victim\nnonsense\n")
    with OutputFolder(tmp_path / "out", overwrite=True) as folder:
        folder.finish("converged")
    assert (tmp_path / "victim").exists()


def test_a_second_run_in_the_same_folder_is_told_who_holds_the_lock(tmp_path):
    program = f"from vermilion.io.writers import OutputFolder\nOutputFolder({str(tmp_path / 'out')!r}).open()"
    with OutputFolder(tmp_path / "out"):
        second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert f"OutputError: {tmp_path / 'out'} is locked by pid {os.getpid()}: wait for it" in second.stderr
        assert names(tmp_path / "out") == [".vermilion.lock"]
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_new_folder_that_nothing_was_written_into_disappears(tmp_path):
    with pytest.raises(ParameterError), OutputFolder(tmp_path / "out"):
        raise ParameterError("K = 0")
    assert names(tmp_path) == []


def test_writing_needs_an_open_folder(tmp_path):
    with pytest.raises(OutputError, match="is not open"):
        OutputFolder(tmp_path).write("a.txt", text(""))


def test_products_obey_the_umask(tmp_path):
    former = os.umask(0o077)
    try:
        with OutputFolder(tmp_path / "out") as folder:
            product = folder.write("a.txt", text("a"))
    finally:
        os.umask(former)
    assert stat.S_IMODE(product.stat().st_mode) == 0o600
