"""The capture file: its content, and its state after a kill, a second writer, a full disk, or a truncation."""

import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stripe.capture import Epoch, Site, open_capture, site_names
from stripe.capture.file import CaptureFile
from stripe.capture.layout import Layout
from stripe.errors import StripeError


def site(name: str, dims: tuple[str, ...] = ("channel",), shape: tuple[int, ...] = (5,)) -> Site:
    return Site(name, "channel", "SE", dims, shape, (*shape, 4, 4), True, name, 0, 0, 1, 1)


def layout(num_epochs: int = 3, num_images: int = 4, **changes: object) -> Layout:
    base = Layout(
        epochs=tuple(Epoch(e) for e in range(num_epochs)),
        num_images=num_images,
        paths=(),
        thumbnail_shape=(2, 3, 3),
        sites=(site("layer1.0.se"), site("spatial", ("height", "width"), (3, 2))),
        record_input=True,
        dtype="float32",
        attrs={"model": "toy", "seed": 0, "classes": ["cat", "dog"]},
        provenance={"stripe": "0"},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def values(plan: Layout, epoch: int) -> dict[str, dict[str, np.ndarray]]:
    """Numbers that tell where they belong."""
    out: dict[str, dict[str, np.ndarray]] = {}
    for order, item in enumerate(plan.sites):
        shape = (plan.num_images, *item.shape)
        grid = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        out[item.name] = {name: grid + 1000 * epoch + 100 * order + 10 * k for k, name in enumerate(plan.variables)}
    return out


def write(file: CaptureFile, plan: Layout, epoch: int) -> None:
    file.begin(epoch)
    file.write(epoch, 0, values(plan, epoch))
    file.finish(epoch, learning_rate=0.1 / (epoch + 1))


def holds(path: Path, plan: Layout, epoch: int) -> bool:
    with h5py.File(path, "r", locking=False) as file:
        index = list(file["epoch"]).index(epoch)
        return all(
            np.array_equal(file["sites"][name][variable][index], rows)
            for name, variables in values(plan, epoch).items()
            for variable, rows in variables.items()
        )


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process; its wait status."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "capture.h5"


def test_xarray_reads_it_without_us(path: Path) -> None:
    plan = layout(paths=("a.jpg", "b.jpg", "ü.jpg", "d.jpg"))
    with CaptureFile(path, plan) as file:
        file.write_images(0, np.array([0, 1, 1, 0]), np.full((4, 2, 3, 3), 7, np.uint8))
        for epoch in range(3):
            write(file, plan, epoch)
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        attention = tree["sites/layer1.0.se/attention"]
        assert attention.dims == ("epoch", "image", "channel")
        assert tree["sites/spatial/input"].dims == ("epoch", "image", "height", "width")
        np.testing.assert_array_equal(attention.sel(epoch=2), values(plan, 2)["layer1.0.se"]["attention"])
        np.testing.assert_allclose(tree["learning_rate"], [0.1, 0.05, 0.1 / 3])
        assert tree["path"].values.tolist() == ["a.jpg", "b.jpg", "ü.jpg", "d.jpg"]
        assert tree["label"].values.tolist() == [0, 1, 1, 0]
        assert tree["thumbnail"].dims == ("image", "y", "x", "rgb")
        assert tree.attrs["model"] == "toy"
        assert tree.attrs["classes"] == '["cat", "dog"]'
        assert tree["sites/spatial"].attrs["owner"] == "SE"


def test_open_capture_equals_xarrays_own_reader(path: Path) -> None:
    plan = layout()
    with CaptureFile(path, plan) as file:
        for epoch in range(3):
            write(file, plan, epoch)
    ours = open_capture(path)
    assert site_names(ours) == ["layer1.0.se", "spatial"]
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        assert set(ours.groups) == set(tree.groups)
        for group in tree.groups:
            for name in tree[group].dataset.variables:
                assert ours[group][name].dims == tree[group][name].dims
                np.testing.assert_array_equal(ours[group][name], tree[group][name])


@settings(max_examples=20, deadline=None)
@given(
    epochs=st.lists(st.integers(0, 500), min_size=1, max_size=4, unique=True),
    num_images=st.integers(1, 6),
    shapes=st.lists(st.lists(st.integers(1, 4), min_size=0, max_size=3), min_size=1, max_size=3),
    dtype=st.sampled_from(["float32", "float16"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, epochs, num_images, shapes, dtype, seed
) -> None:
    path = tmp_path_factory.mktemp("property") / "capture.h5"
    sites = tuple(
        site(f"block.{i}", tuple(f"axis{a}" for a in range(len(shape))), tuple(shape)) for i, shape in enumerate(shapes)
    )
    plan = layout(epochs=tuple(Epoch(e) for e in sorted(epochs)), num_images=num_images, sites=sites, dtype=dtype)
    random = np.random.default_rng(seed)
    written = {
        (s.name, name): random.normal(size=(len(epochs), num_images, *s.shape)).astype(dtype)
        for s in sites
        for name in plan.variables
    }
    with CaptureFile(path, plan) as file:
        for index, epoch in enumerate(plan.epochs):
            file.begin(epoch.number)
            for start in range(0, num_images, 2):
                part = slice(start, start + 2)
                rows = {s.name: {n: written[s.name, n][index, part] for n in plan.variables} for s in sites}
                file.write(epoch.number, start, rows)
            file.finish(epoch.number, float("nan"))
    tree = open_capture(path)
    assert tree["epoch"].values.tolist() == sorted(epochs)
    for (name, variable), expected in written.items():
        read = tree[f"sites/{name}/{variable}"]
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, expected)


def test_only_complete_epochs_are_shown(path: Path) -> None:
    plan = layout()
    with CaptureFile(path, plan) as file:
        write(file, plan, 0)
        write(file, plan, 2)
        file.begin(1)
        assert file.completed == {0, 2}
        tree = open_capture(path)  # while it is being written
        assert tree["epoch"].values.tolist() == [0, 2]
        np.testing.assert_array_equal(
            tree["sites/spatial/attention"].sel(epoch=2), values(plan, 2)["spatial"]["attention"]
        )
        file.begin(0)
        file.begin(2)
        with pytest.raises(StripeError, match="no complete epoch"):
            open_capture(path)


@pytest.mark.slow
def test_kill_at_any_moment(path: Path) -> None:
    """Whatever was complete when the process was killed is there, and the next process goes on from it."""
    plan = layout(num_epochs=40, num_images=200)
    random = np.random.default_rng(0)
    for _ in range(12):
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            file = CaptureFile(path, plan)
            for epoch in sorted(set(range(40)) - file.completed):
                file.begin(epoch)
                for start in range(0, 200, 20):
                    rows = {
                        s: {n: v[start : start + 20] for n, v in variables.items()}
                        for s, variables in values(plan, epoch).items()
                    }
                    file.write(epoch, start, rows)
                    os.write(write_end, b".")
                file.finish(epoch, 0.1)
            os._exit(0)
        os.close(write_end)
        for _ in range(int(random.integers(0, 60))):  # so many writes it may make
            os.read(read_end, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read_end)
        if path.exists():
            with CaptureFile(path, plan) as file:
                completed = file.completed
            assert all(holds(path, plan, epoch) for epoch in completed)
    assert list(path.parent.glob("*")) == [path]
    with CaptureFile(path, plan) as file:
        assert file.completed  # or the kills would have proved nothing
        for epoch in sorted(set(range(40)) - file.completed):
            write(file, plan, epoch)
    assert all(holds(path, plan, epoch) for epoch in range(40))


def test_second_writer_is_refused(path: Path) -> None:
    plan = layout()
    opened, proceed = os.pipe(), os.pipe()

    def first() -> None:
        with CaptureFile(path, plan) as file:
            write(file, plan, 0)
            os.write(opened[1], b".")
            os.read(proceed[0], 1)
            write(file, plan, 1)

    pid = os.fork()
    if pid == 0:
        first()
        os._exit(0)
    os.read(opened[0], 1)
    with pytest.raises(StripeError, match="being written by another process"):
        CaptureFile(path, plan)
    os.write(proceed[1], b".")
    assert os.waitpid(pid, 0)[1] == 0
    assert holds(path, plan, 0)
    assert holds(path, plan, 1)


def test_full_disk(path: Path) -> None:
    """A limit on the file's size stands for the full disk: the last epoch can't be written."""
    plan = layout(num_epochs=4, num_images=500)
    with CaptureFile(path, plan) as file:
        write(file, plan, 0)
    size = path.stat().st_size

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1000, size - 1000))
        file = CaptureFile(path, plan)
        for epoch in (1, 2):
            write(file, plan, epoch)
        with pytest.raises(StripeError, match=r"File too large.*3 complete epochs are intact"):
            write(file, plan, 3)
        file.close()

    assert in_child(fill) == 0
    with CaptureFile(path, plan) as file:
        assert file.completed == {0, 1, 2}
    assert all(holds(path, plan, epoch) for epoch in range(3))
    with CaptureFile(path, plan) as file:
        write(file, plan, 3)
    assert holds(path, plan, 3)


def test_no_room_for_the_file(path: Path) -> None:
    def create() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(StripeError, match=r"Can't create .*capture\.h5"):
            CaptureFile(path, layout())

    assert in_child(create) == 0
    assert list(path.parent.glob("*")) == []


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file(path: Path, keep: float) -> None:
    plan = layout(num_images=100)
    with CaptureFile(path, plan) as file:
        write(file, plan, 0)
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(StripeError, match=r"capture\.h5 can't be read"):
        open_capture(path)
    with pytest.raises(StripeError, match=r"capture\.h5 can't be opened .* delete it"):
        CaptureFile(path, plan)


def test_other_files(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="There is no file"):
        open_capture(path)
    with pytest.raises(StripeError, match=r"is a folder; name a capture in it, such as .*capture\.h5"):
        open_capture(tmp_path)
    path.write_text("epoch,loss\n")
    with pytest.raises(StripeError, match="can't be read as a capture"):
        open_capture(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(StripeError, match="is an HDF5 file but no capture"):
        open_capture(tmp_path / "other.h5")
    with pytest.raises(StripeError, match="is no folder"):
        CaptureFile(tmp_path / "nowhere" / "capture.h5", layout())


def test_newer_format(path: Path) -> None:
    with CaptureFile(path, layout()):
        pass
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(StripeError, match="format version 99"):
        open_capture(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attrs": {"model": "other"}}, "its model is 'toy', not 'other'"),
        ({"attrs": {"data": "cifar10"}}, "its data is None, not 'cifar10'"),
        ({"num_images": 9}, "it holds 4 images, not 9"),
        ({"paths": ("w", "x", "y", "z")}, "other images"),
        ({"sites": (site("layer1.0.se"),)}, r"other sites \(spatial\)"),
        ({"record_input": False}, "it holds attention and input of each site"),
        ({"dtype": "float16"}, "another shape or type"),
        ({"epochs": (Epoch(0, "b.pth", "digest of b"),)}, "epoch 0 came from 'a.pth' with other weights"),
    ],
)
def test_capture_of_something_else_is_refused(path: Path, changes: dict[str, object], words: str) -> None:
    plan = layout(epochs=(Epoch(0, "a.pth", "digest of a"),))
    with CaptureFile(path, plan) as file:
        write(file, plan, 0)
    with pytest.raises(StripeError, match=words):
        CaptureFile(path, replace(plan, **changes))
    assert holds(path, plan, 0)


def test_epochs_are_added(path: Path) -> None:
    plan = layout(epochs=(Epoch(2), Epoch(5)))
    with CaptureFile(path, plan) as file:
        file.write_images(0, np.arange(4), np.full((4, 2, 3, 3), 9, np.uint8))
        write(file, plan, 2)
    longer = replace(plan, epochs=(Epoch(0), Epoch(2), Epoch(7)))
    with CaptureFile(path, longer) as file:
        assert file.completed == {2}
        write(file, longer, 7)
    assert list(path.parent.glob("*")) == [path]
    with h5py.File(path) as file:
        assert file["epoch"][:].tolist() == [0, 2, 5, 7]
        assert file["label"][:].tolist() == [0, 1, 2, 3]
        assert (file["thumbnail"][:] == 9).all()
    assert holds(path, longer, 2)
    assert holds(path, longer, 7)


def test_metadata_is_valid_netcdf(path: Path) -> None:
    netcdf = pytest.importorskip("netCDF4")
    with CaptureFile(path, layout()):
        pass
    with netcdf.Dataset(path) as file:
        assert set(file.dimensions) == {"epoch", "image", "y", "x", "rgb"}
        assert "y" not in file.variables
        group = file["sites"]["layer1.0.se"]
        assert group["attention"].dimensions == ("epoch", "image", "channel")


def test_a_file_of_the_first_release_goes_on_without_the_size_of_the_map(path: Path) -> None:
    plan = layout()
    with CaptureFile(path, replace(plan, record_rms=False)) as file:
        write(file, replace(plan, record_rms=False), 0)
    grown = replace(plan, epochs=(*plan.epochs, Epoch(7)))
    with CaptureFile(path, grown) as file:
        assert file.completed == {0}
        write(file, grown, 7)
    assert holds(path, replace(plan, record_rms=False), 7)
    assert "input_rms" not in open_capture(path)["sites/spatial"]
