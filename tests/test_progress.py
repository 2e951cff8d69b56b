from stripe.progress import progress_bar, track


def test_items_pass_through(capsys) -> None:
    assert list(track(iter("abc"), "spelling", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""  # a table on standard output stays a table


def test_silent_where_nobody_looks(capsys) -> None:
    with progress_bar() as progress:
        task = progress.add_task("work", total=2, note="")
        progress.advance(task)
    assert capsys.readouterr() == ("", "")
