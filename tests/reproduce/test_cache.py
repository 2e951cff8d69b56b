import re
from dataclasses import fields, replace

import pytest

from stripe.errors import StripeError
from stripe.reproduce import Cache, Changes, Plan, find, read
from stripe.reproduce.cache import Sources
from stripe.reproduce.execution import Machine, compute
from stripe.training import RESNET, RunConfig
from tests.reproduce.conftest import FIGURE, TINY

REQUEST = RunConfig("resnet29", "shapes", RESNET.scaled(12), attention="se", capture=100)
SHAPES = {"spec": "shapes", "image_size": 32, "seed": 0}


def test_an_address_is_readable_and_stable():
    """The number is what this version of the address gives for ever; another one means a new VERSION."""
    assert REQUEST.address(SHAPES) == "resnet29-se-shapes-5830cda8"
    assert re.fullmatch(r"resnet29-se-cifar10-[0-9a-f]{8}", REQUEST.address({"spec": "folder:cifar10"}))
    both = replace(REQUEST, mode="both", noise=(0.8, 0.5))
    assert re.fullmatch(r"resnet29-se-asr-se-noise-0.8-0.5-shapes-[0-9a-f]{8}", both.address(SHAPES))


OTHERS = {
    "model": "resnet20",
    "recipe": RESNET.scaled(13),
    "mode": "both",
    "attention": "ie",
    "pretrained": True,
    "select": "test",
    "seed": 1,
    "images_per_epoch": 100,
    "capture": 50,
    "precision": "bfloat16",
    "noise": (0.8, 0.5),
    "noise_random": 0.1,
    "num_classes": 3,
    "args": {"dropout": 0.5},
    "accumulate": 2,
    "ema": 0.9,
    "backbone_ckpt": "resnet20.pth",
}
OF_ASR = {"copies": 2, "psi": 0.2, "psi_fixed": True, "where": "*.bn3", "asr_start": "alive"}
OF_TASK = {"task_args": {"weight": 2}, "task": "regression"}
OF_DATA = {"data", "image_size", "train_images", "test_images"}


def test_every_setting_has_a_say_in_the_address():
    assert OTHERS.keys() | OF_ASR.keys() | OF_TASK.keys() | OF_DATA == {field.name for field in fields(RunConfig)}
    changed = [replace(REQUEST, **{key: value}) for key, value in OTHERS.items()]
    changed += [replace(REQUEST, mode="asr", **{key: value}) for key, value in OF_ASR.items()]
    changed += [replace(REQUEST, mode="asr"), REQUEST]
    changed += [replace(REQUEST, **OF_TASK), replace(REQUEST, task="regression")]
    assert len({request.address(SHAPES) for request in changed}) == len(changed)
    assert REQUEST.address(SHAPES) != REQUEST.address({**SHAPES, "seed": 1})


def test_what_means_the_same_has_the_same_address():
    assert replace(REQUEST, mode="attention").address(SHAPES) == REQUEST.address(SHAPES)
    assert replace(REQUEST, train_images=9_999).address(SHAPES) == REQUEST.address(SHAPES)  # the data says it


def test_a_part_of_a_data_set():
    request = replace(REQUEST, data="shapes:train=40,test=30", train_images=20, test_images=100, image_size=16)
    sources = Sources()
    found = sources.look(request)
    assert (found.train, found.test, found.classes, found.image_size) == (20, 30, 10, 16)
    assert found.attrs["train_images"] == 20
    assert "test_images" not in found.attrs
    data = sources.load(request)
    assert (len(data.train), len(data.test)) == (20, 30)
    assert sorted(data.train.labels) == sorted([*range(10)] * 2)  # balanced
    assert data.attrs == found.attrs
    whole = sources.load(replace(request, train_images=None))
    images, labels = next(iter(data.train.loader(20)))
    where = [whole.train.paths.index(path) for path in data.train.paths]
    expected, _ = next(iter(whole.train.loader(20, indices=where)))
    assert images.equal(expected)
    assert labels.tolist() == [whole.train.labels[index] for index in where]


def test_data_that_is_not_here_can_be_planned(tmp_path):
    request = replace(REQUEST, data="cifar100")
    found = Sources(str(tmp_path)).look(request)
    assert "cifar100 was not found" in found.problem
    assert (found.classes, found.train, found.test) == (100, 50_000, 10_000)
    assert Sources(str(tmp_path), download=True).look(request).problem == ""
    with pytest.raises(StripeError, match="no folder"):
        Sources().look(replace(REQUEST, data=f"folder:{tmp_path / 'none'}"))


def test_a_run_with_a_capture_serves_who_wants_none(write, tmp_path):
    plan = Plan.make(read(write("picture", FIGURE)), "quick", TINY)
    (captured,) = plan.requests
    bare = replace(captured, capture=0)
    cache = Cache(tmp_path, Sources())
    together = cache.plan([bare, captured])
    assert together[bare].path == together[captured].path
    assert cache.plan([bare], [captured.capture])[bare].path != together[captured].path
    compute(cache.plan([captured]), cache, Machine())
    again = cache.plan([bare], [captured.capture])[bare]
    assert (again.path, again.state) == (together[captured].path, "cached")


def test_all_of_the_quick_scale_is_planned_without_clashes(tmp_path):
    plans = [Plan.make(recipe, "quick", Changes()) for recipe in find(["all"])]
    served = Cache(tmp_path, Sources()).plan([request for plan in plans for request in plan.requests])
    assert {planned.state for planned in served.values()} == {"missing"}
    for path in {planned.path for planned in served.values()}:
        same = [request for request in served if served[request].path == path]
        assert len({str((request.description(), request.recipe, request.seed)) for request in same}) == 1


def test_the_address_says_in_which_precision_a_run_is_computed(tmp_path, monkeypatch):
    """A device that computes in bfloat16 has runs of its own; float32 goes without saying."""
    (here,) = Cache(tmp_path, Sources()).plan([REQUEST]).values()
    monkeypatch.setattr("stripe.reproduce.cache.default_precision", lambda device: "bfloat16")
    (there,) = Cache(tmp_path, Sources(), "cuda").plan([REQUEST]).values()
    asked = replace(REQUEST, precision="float32")
    assert there.request.precision == "bfloat16"
    assert here.path != there.path
    assert here.path.name == REQUEST.address(Sources().look(REQUEST).attrs)
    assert Cache(tmp_path, Sources(), "cuda").plan([asked])[asked].request.precision == "float32"
    captured, alone = REQUEST, replace(REQUEST, capture=0)
    served = Cache(tmp_path, Sources(), "cuda").plan([captured, alone])
    assert served[alone].path == served[captured].path
