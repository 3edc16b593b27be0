"""The ids of spans are those of the collector's GitHub receiver."""

from bridge.core.trace_ids import job_span_id, queue_span_id, run_span_id, stage_span_id, trace_id


def test_the_ids_of_a_run_are_those_of_the_receivers_own_test_data() -> None:
    # receiver/githubreceiver/testdata/workflow-job-expected-check-run-id.yaml of opentelemetry-collector-contrib
    assert trace_id(14_460_881_260, 13) == "731ec8a47fd7450f753a812a4a8aa5a0"
    assert run_span_id(14_460_881_260, 13) == "aba151af7cfbcf0f"


def test_the_ids_of_a_job_are_made_of_its_id_alone() -> None:
    # trace_event_handling.go, newSpanIDFromCheckRun; the digits are those of `printf %s 40685651258-j | sha256sum`
    assert job_span_id(40_685_651_258) == "2b09b38c69b64a9c"
    assert queue_span_id(40_685_651_258) == "79ff76cc79430e14"


def test_each_attempt_of_a_run_has_a_trace_of_its_own_and_each_stage_a_span() -> None:
    assert trace_id(1, 1) != trace_id(1, 2)
    assert run_span_id(1, 1) != run_span_id(1, 2)
    ids = {stage_span_id("a", "plan"), stage_span_id("a", "run"), stage_span_id("b", "plan")}
    assert len(ids) == 3
    assert {len(each) for each in ids} == {16}
