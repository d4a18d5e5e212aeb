from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alflow.report import tables, wording, work_wording
from alflow.report.attention import MAX_BULLETS, bullets
from alflow.report.attribution import Use
from alflow.report.content import GenerationRow, LabelFailures, LabelNoise, Standing
from alflow.report.estimates import survival_curve
from alflow.report.mistakes import Mistakes
from alflow.report.quantities import (
    count,
    duration,
    milli,
    moment,
    percent,
    significant,
    simulated,
)
from alflow.report.samples import WorkerTime
from alflow.report.sections import tiles
from alflow.store.mistakes import NEW, OriginError


def standing(report, value, reason=""):
    return replace(report, outcome=replace(report.outcome, standing=value, reason=reason))


def test_a_running_campaign_says_where_why_and_until_when(running):
    verdict = wording.verdict(running)
    assert (verdict.word, verdict.tone) == ("running", "busy")
    assert verdict.state == (
        "Iteration 7 of at most 20 is labelling; there are 426 labelled structures."
    )
    assert verdict.why.startswith("The test force error is 41.2 meV/Å (was 47.0); ")
    assert verdict.why.endswith("of the trajectories were flagged (was 27 %).")
    assert verdict.next_step == (
        "It goes on until all trajectories survive 2 ps, or the test force error is "
        "30 meV/Å or less, or 2\u202f000 labels are spent (452 so far), or iteration 20 ends."
    )


@pytest.mark.parametrize(
    ("value", "tone", "state", "next_step"),
    [
        (
            Standing.CONVERGED,
            "good",
            "Converged after iteration 7",
            "Generation g7 is ready",
        ),
        (Standing.BUDGET, "warn", "Ended by the label budget", "raise stop.budget.labels"),
        (Standing.TIME, "warn", "Ended by the budget of time", "of stop.budget"),
        (
            Standing.ITERATIONS,
            "warn",
            "Ended by the iteration limit",
            "loop.max_iterations",
        ),
        (Standing.STOPPED, "warn", "Stopped after iteration 7", "alflow resume"),
        (Standing.FAILED, "bad", "Failed after iteration 7", "alflow ls failures"),
    ],
)
def test_an_ended_campaign_repeats_the_reason(running, value, tone, state, next_step):
    verdict = wording.verdict(standing(running, value, "because 3 of 4 did"))
    assert verdict.word == value
    assert verdict.tone == tone
    assert verdict.state.startswith(state)
    assert verdict.state.endswith("with 426 labelled structures.")
    assert verdict.why.startswith("Because 3 of 4 did.")
    assert (verdict.why == "Because 3 of 4 did.") == (value not in wording.LIMITS)
    assert next_step in verdict.next_step


def test_an_end_at_a_limit_tells_how_good_it_is_and_what_would_have_been_enough(running):
    ended = standing(running, Standing.ITERATIONS, "the limit is reached")
    why = wording.verdict(ended).why
    assert why.startswith(
        "The limit is reached. The test force error is 41.2 meV/Å (was 47.0); "
    )
    assert why.endswith(
        "It is not converged: that would be when all trajectories survive 2 ps, or the test "
        "force error is 30 meV/Å or less."
    )
    no_rule = replace(ended, outcome=replace(ended.outcome, converged={}))
    assert wording.verdict(no_rule).why.endswith("No criterion of convergence is set.")


def test_a_running_campaign_that_cannot_converge_says_so(running):
    outcome = replace(running.outcome, converged={}, max_core_hours=8.0, max_wall_hours=1.5)
    assert wording.verdict(replace(running, outcome=outcome)).next_step == (
        "It goes on until 2\u202f000 labels are spent (452 so far), or 8 core-hours are spent, or "
        "1.5 hours have passed, or iteration 20 ends; no criterion of convergence is set."
    )


def test_a_refused_generation_is_not_the_error_of_the_campaign(running):
    *earlier, before, last = running.generations
    refused = replace(last, state="rejected")
    report = replace(running, generations=(*earlier, before, refused))
    told = {tile.caption: (tile.value, tile.note) for tile in tiles(report)}
    assert told["test force RMSE"] == ("47.0", "g6; was 51.0")


def test_without_a_test_set_new_labels_tell_the_error(running):
    rows = tuple(
        replace(row, force_rmse=None, energy_rmse=None) for row in running.generations
    )
    origins = (
        OriginError(NEW, "nemd", 30, 0.01, None),
        OriginError(NEW, "torsions", 10, 0.05, None),
        OriginError(NEW, "broken", 5, None, None),
    )
    report = replace(
        running,
        generations=rows,
        outcome=replace(running.outcome, has_test=False),
        mistakes=Mistakes(iteration=7, by_origin=origins),
    )
    told = "Forces of the new labels of i7 were off by 141 meV/Å"
    skewed = f"{told} (those of half of them by less than 33.5: a few rule); "
    assert wording.verdict(report).why.startswith(skewed)
    even = replace(report, calibration=())
    assert wording.verdict(even).why.startswith(f"{told}; ")
    told = {tile.caption: (tile.value, tile.note) for tile in tiles(report)}
    assert told["force RMSE, new labels"] == ("141", "of i7, before they were learnt from")
    assert told["test energy RMSE"] == ("–", "there is no test set")


def test_every_standing_has_a_colour_and_three_sentences(running):
    for value in Standing:
        verdict = wording.verdict(standing(running, value))
        for text in (verdict.state, verdict.why, verdict.next_step):
            assert text.endswith(".")
            assert text[0].isupper()


def test_a_campaign_without_rules_and_numbers_still_speaks(empty):
    assert "no test error and no trajectory" in wording.verdict(empty).why
    verdict = wording.verdict(standing(empty, Standing.RUNNING))
    assert verdict.next_step == (
        "It goes on until it is stopped; no criterion of convergence is set."
    )
    assert "between two steps" in verdict.state


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("audit", 0.1, "surely less than 10 % of frames drawn at random"),
        ("plateau", 3.0, "the test force error has not fallen for 3 iterations"),
        (
            "stalled",
            1.0,
            "fewer frames than places are beyond the tolerance for 1 iteration",
        ),
    ],
)
def test_every_rule_of_convergence_has_words(running, name, value, words):
    outcome = replace(running.outcome, converged={name: value})
    assert words in wording.verdict(replace(running, outcome=outcome)).next_step


def test_a_rule_of_another_kind_is_named(running):
    outcome = replace(running.outcome, converged={"rdf_error": 0.02})
    text = wording.verdict(replace(running, outcome=outcome)).next_step
    assert "rdf error reaches 0.02" in text


def test_learning_title_tells_a_rise_from_a_fall(running):
    rows = running.validated
    assert "fell from 171 to 41.2 meV/Å between g0 and g7" in wording.learning_title(rows)
    assert "rose from 41.2 to 171 meV/Å" in wording.learning_title(rows[::-1])
    assert wording.learning_title(rows[:1]).endswith("?")


@pytest.mark.parametrize(
    ("factor", "word"),
    [
        (1.3, "calibrated"),
        (1.5, "a little overconfident"),
        (0.65, "a little too cautious"),
        (2.6, "overconfident"),
        (0.31, "too cautious"),
    ],
)
def test_calibration_title(running, factor, word):
    title = wording.calibration_title(replace(running.calibration[-1], factor=factor))
    assert title == f"The spread of g6 is {word}: error is {factor} × spread"


def test_few_labels_and_a_spread_that_does_not_rank_are_told(running):
    sample = running.calibration[-1]
    few = replace(sample, n_labels=2)
    assert wording.calibration_title(few).endswith("calibrated? 2 labels: too few to tell")
    off = replace(few, factor=3.0)
    told = [one.text for one in bullets(replace(running, calibration=(off,)))]
    assert not [text for text in told if "is not calibrated" in text]
    blind = replace(sample, force_spread=sample.force_spread[::-1].copy())
    assert wording.calibration_title(blind).endswith(
        "large errors are not where it is large"
    )
    assert wording.calibration_title(sample).endswith("× spread")


def test_a_level_without_forces_is_judged_by_energies(running):
    rows = tuple(replace(row, force_rmse=None) for row in running.generations)
    report = replace(running, generations=rows)
    assert "fell from 12.4 to 2.80 meV/atom" in wording.learning_title(report.validated)
    assert (
        "The test energy error is 2.80 meV/atom (was 3.20)" in wording.verdict(report).why
    )
    lost = replace(rows[-1], energy_rmse=None)
    (first, *_) = bullets(replace(report, generations=(*rows[:-1], lost)))
    assert first.text == "Predictions of g7 on the test set are not all finite numbers."


def test_calibration_note_has_rank_and_coverage(running):
    note = wording.calibration_note(running.calibration[-1])
    assert "Rank correlation" in note
    assert "(nominal 95 %)" in note


def test_survival_title_for_medians_reached_and_not():
    short = survival_curve(0, [100.0, 200.0, 300.0], [True, True, True])
    long = survival_curve(4, [2000.0] * 3 + [500.0], [False] * 3 + [True])
    assert wording.survival_title([short]) == "Half of the trajectories last 200 fs with g0"
    assert wording.survival_title([short, long]) == (
        "75 % of the trajectories last 2.00 ps with g4; with g0 half lasted 200 fs"
    )
    assert wording.survival_title([long, short]).endswith("with g4 75 % lasted 2.00 ps")


def test_timeline_and_failure_titles(running):
    title = work_wording.timeline_title(running.timeline)
    assert title.startswith("6 worker slots did ")
    assert wording.failures_title(running) == "14 failed labels, 3 failed attempts"


def test_bullets_name_what_is_wrong_and_what_to_type(running, failed):
    (idle,) = bullets(running)
    assert idle.text == (
        "Workers were idle 39 % of the time, most of it waiting for the last tasks of a stage."
    )
    (lost, *_) = bullets(failed)
    assert lost.subject == "t-77"
    assert lost.text == "The train task t-77 was given up: diverged."
    assert lost.command == "alflow show t-77"


def test_bullets_for_everything_at_once_are_five(running):
    worse = replace(running.generations[-1], number=8, force_rmse=0.2, state="rejected")
    off = replace(running.calibration[-1], factor=3.0)
    kinds = tuple(
        LabelFailures(kind, 40, (3,), (4,), "no") for kind in ("not-converged", "crash")
    )
    wild = replace(running.iterations[-1], stop_reasons={"too-hot": 60}, n_labels_failed=80)
    report = replace(
        running,
        generations=(*running.generations, worse),
        calibration=(off,),
        label_failures=kinds,
        iterations=(*running.iterations[:-1], wild),
    )
    found = bullets(report)
    assert len(found) == MAX_BULLETS
    assert [one.subject for one in found] == ["g8", "s-3", "s-3", "g6", "i7"]
    assert found[3].command == "alflow show g6"
    in_use = replace(
        report, generations=(*running.generations, replace(worse, state="ready"))
    )
    assert bullets(in_use)[2].text.startswith("g8 is worse than g7 on the test set")
    fewer = replace(report, generations=running.generations, label_failures=())
    assert [one.subject for one in bullets(fewer)] == ["g6", "i7", "i7"]
    assert bullets(fewer)[0].text.endswith("errors of new labels are 3.0 times the spread.")


def test_numbers_are_short():
    assert significant(0.04123) == "0.0412"
    assert significant(12345.0) == "12\u202f300"
    assert significant(0.0) == "0"
    assert significant(1.2e-7) == "1.20e-07"
    assert significant(float("nan")) == significant(None) == "–"
    assert milli(0.0412) == "41.2"
    assert percent(0.031) == "3.1 %"
    assert percent(1.0) == "100 %"
    assert percent(None) == "–"
    assert count(1, "label") == "1 label"
    assert count(2000, "label") == "2\u202f000 labels"
    assert duration(45.0) == "45 s"
    assert duration(5000.0) == "83 min"
    assert duration(10 * 86400.0) == "10 d"
    assert moment(0.0) == "1970-01-01 00:00:00 UTC"
    assert moment(None) == simulated(None) == "–"


@given(st.floats(1e-4, 1e6))
def test_significant_keeps_three_digits(value):
    text = significant(value).replace("\u202f", "")
    assert abs(float(text) - value) <= 0.0051 * value
    assert np.sign(float(text)) == 1


def test_noise_of_labels_stands_beside_the_errors_of_the_model():
    noise = LabelNoise(5, 1, (0.001, -0.002, 0.0005, 0.0), (0.004, 0.003))
    assert wording.noise_title(noise) == (
        "4 of 5 labels held when computed again: energies differ by 1.1 meV/atom, "
        "forces by 3.5 meV/Å"
    )
    assert wording.refuted(noise).startswith("One of them did not hold.")
    assert wording.refuted(LabelNoise(5, 0)) == "All of them held."
    assert wording.noise_title(LabelNoise(1, 1)) == "0 of 1 label held when computed again"
    same = wording.noise_title(LabelNoise(2, 0, (0.0, 0.0)))
    assert same == "2 of 2 labels held when computed again, and came out the same"
    assert wording.not_audited(noise) == ""
    none = LabelNoise(failed={"not-converged": 2, "timeout": 1})
    assert wording.noise_title(none) == "No label could be computed again"
    assert wording.not_audited(none) == (
        "3 structures could not be computed again (2 not-converged, 1 timeout) and keep their "
        "labels."
    )
    row = GenerationRow(3, "ready", 8, 100, 20, 0.05, 0.004, "", (), ())
    table = tables.noise(noise, row)
    assert [cells[2:] for cells in table.rows] == [
        ("1.1", "2.0", "4.00"),
        ("3.5", "4.0", "50.0"),
    ]


def test_where_the_time_of_workers_went():
    time = WorkerTime(
        {"label": {Use.COMPUTING: 60.0, Use.BARRIER: 30.0}, "train": {Use.START_UP: 10.0}}
    )
    assert work_wording.worker_time_title(time) == (
        "Workers computed 60 % of the time; most of the rest, 30 %, "
        "was spent waiting for the last tasks of a stage"
    )
    assert work_wording.cost_title(time, 50) == (
        "A label cost 2.0 s of worker time, all stages together"
    )
    all_busy = WorkerTime({"label": {Use.COMPUTING: 60.0}})
    assert work_wording.worker_time_title(all_busy) == "Workers computed 100 % of the time"


def test_fates_of_trajectories(running):
    rows = running.sampled
    text = wording.fates_title(rows)
    assert text.startswith(
        "72 % of the trajectories of i7 were trusted to their end; of i1 1.6 %"
    )
    assert wording.fates_title(rows[-1:]).endswith("to their end")


def test_a_verdict_warns_of_failed_labels(running):
    ok, failed = 7 * 46 + 104, 200
    last = replace(running.iterations[-1], n_labels_failed=failed - 12)
    report = replace(running, iterations=(*running.iterations[:-1], last))
    share = f"{100 * failed / (ok + failed):.0f} % of the labels failed."
    assert wording.verdict(report).why.endswith(share)
    (bullet, *_) = bullets(report)
    assert bullet.text.startswith("14 labels of 626 failed with not-converged")
    finished = standing(report, Standing.CONVERGED, "the test error is small")
    assert wording.verdict(finished).why == f"The test error is small. {share}"
    assert "failed" not in wording.verdict(running).why


def test_more_of_what_goes_wrong_is_not_advised(running):
    ended = standing(running, Standing.ITERATIONS, "the limit is reached")
    assert wording.verdict(ended).next_step.startswith("To go on, raise")
    refused = replace(running.generations[-1], state="rejected")
    bad = replace(ended, generations=(*ended.generations[:-1], refused))
    assert wording.verdict(bad).next_step.startswith("First see to what went wrong")


def test_limits_that_flag_everything_are_told(running):
    def told(*reasons):
        rows = tuple(
            replace(row, stop_reasons=reason)
            for row, reason in zip(running.iterations[-3:], reasons, strict=True)
        )
        report = replace(running, iterations=(*running.iterations[:-3], *rows))
        return [one.subject for one in bullets(report) if "were flagged" in one.text]

    n = running.iterations[-1].n_trajectories
    everything = {"flagged": n}
    assert told(everything, everything, everything) == ["i7"]
    assert told(everything, {"flagged": n - 1, "finished": 1}, everything) == []


def test_a_member_that_diverged_is_missed(running):
    last = replace(running.generations[-1], n_members=7)
    note = "member 3 gave numbers that are not finite; it is left out: 7 of 8 are trained"
    report = replace(
        running,
        generations=(*running.generations[:-1], last),
        notes=(("t-90", note),),
    )
    assert wording.verdict(report).why.endswith("The newest ensemble lacks 1 member.")
    first, *others = bullets(report)
    assert (first.subject, first.command) == ("t-90", "alflow show t-90")
    assert first.text == f"M{note[1:]}."
    assert not [one for one in others if "member" in one.text], "it was told already"
    (bare, *_) = bullets(replace(report, notes=()))
    assert (bare.subject, bare.command) == ("g7", "alflow show g7")
    assert bare.text.startswith("g7 has 7 of 8 members")


def test_a_member_that_was_never_there_is_missed(running):
    outcome = replace(running.outcome, n_members=9)
    report = replace(running, outcome=outcome)
    assert wording.verdict(report).why.endswith("The newest ensemble lacks 1 member.")
    assert bullets(report)[0].text.startswith("g7 has 8 of 9 members")


def test_verdict_of_very_many_labels(large):
    verdict = wording.verdict(standing(large, Standing.CONVERGED, "the error is small"))
    assert "100\u202f000 labelled structures" in verdict.state
    assert verdict.tone == "good"


def test_verdict_of_nothing(empty):
    verdict = wording.verdict(empty)
    assert (verdict.word, verdict.state) == (
        "not started",
        "Nothing has been computed yet.",
    )
    assert bullets(empty) == ()
