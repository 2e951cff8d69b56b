from stripe.reproduce.cache import Sources
from stripe.reproduce.networks import counts
from stripe.training import RunConfig


def test_the_masks_of_a_detector_are_counted_with_all_the_objects_that_it_may_find(tmp_path):
    """Of 50: four 3×3 convolutions, one that doubles, one to classes; a multiplication with an addition is two."""
    with_masks, without = (
        counts(RunConfig(f"{head}:resnet11", "scenes:train=8,test=4", image_size=32), tmp_path, Sources())["flops"]
        for head in ("maskrcnn", "fasterrcnn")
    )
    positions = 14 * 14
    an_object = positions * 9 * (64 * 64 * 4) + positions * 4 * 64 * 64 + 4 * positions * 64 * 11
    assert with_masks - without == 2 * 50 * an_object
