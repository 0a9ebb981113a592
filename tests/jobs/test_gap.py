"""The line about log-probs of the engine that are not the trainer's."""

from hornbeam.jobs.train.tree_metrics import GAP, GapWarning


def test_a_gap_is_told_once_of_any_policy():
    result = []
    gap = GapWarning(result.append)
    gap.look({"engine_gap": GAP}, 0)
    assert not result
    gap.look({"main/engine_gap": 0.01, "sub/engine_gap": 0.25}, 1)
    gap.look({"engine_gap": 0.5}, 2)
    assert len(result) == 1 and result[0].startswith(
        "step 2: engine and trainer differ by 0.25 nats"
    )
