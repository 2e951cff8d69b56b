"""The verdict of the page, in words."""

import pandas as pd

__all__ = ["headline"]

# From attention that could be a constant to attention that couldn't; what each means to a reader in a hurry.
_CATEGORIES = {
    "constant": "the same for every image",
    "nearly constant": "its mean over images is at most 5 % off",
    "striped": "at least 90 % of the variance lies between channels, but a constant would be more than 5 % off",
    "input-dependent": "differs from image to image",
    "undecided": "too few images to tell",
    "unknown": "cannot be told from this capture",
}


def headline(verdicts: pd.DataFrame) -> tuple[str, str]:
    """Say of the whole network whether its attention is a constant.

    Args:
        verdicts: What `stripe.analysis.verdicts` returns.

    Returns:
        One sentence, and one that counts the sites of each category. Where some are constant and there is no control,
        a third one that says so, for the attention of an untrained network looks like a constant, too.
    """
    counts = verdicts["category"].value_counts()
    sites = len(verdicts)
    unknown = sum(int(counts.get(category, 0)) for category in ("undecided", "unknown"))
    constant = sum(int(counts.get(category, 0)) for category in ("constant", "nearly constant"))
    if unknown == sites:
        first = "Whether attention depends on the image cannot be told from this capture."
    elif constant == sites == 1:
        first = f"Attention is {'a constant' if 'constant' in counts else 'nearly a constant'}."
    elif constant == sites:
        first = "Attention is a constant, or nearly one, at every site."
    elif constant:
        first = f"Attention is a constant, or nearly one, at {constant} of {sites} sites."
    elif sites == 1:
        first = "Attention is not a constant."
    else:
        first = f"Attention is not a constant at any site{' that could be judged' if unknown else ''}."
    found = [f"{int(counts[name])} {name} ({meaning})" for name, meaning in _CATEGORIES.items() if name in counts]
    of = "1 site" if sites == 1 else f"{sites} sites"
    second = f"Of {of} at epoch {int(verdicts['epoch'].max())}: {'; '.join(found)}."
    if constant and not any(str(column).startswith("against_") for column in verdicts):
        second += " No control was recorded, and the attention of an untrained network looks like a constant, too."
    return first, second
