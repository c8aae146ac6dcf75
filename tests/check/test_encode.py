"""Reports as JSON: strict, whole, and back again."""

import json
import math

import numpy as np
import pytest
from reports import WHERE, full_report, network_report, row

from fnn.check.networks import NetworkReport
from fnn.check.reports.environment import environment
from fnn.check.reports.report import Report


def strictly(text):
    """Parsed by a reader that knows no NaN and no Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def same(one, other):
    """Equal field by field, where NaN equals itself: repr writes each float exactly."""
    return repr(one) == repr(other)


def test_a_report_comes_back_whole():
    report = full_report()
    fields = strictly(report.to_json())
    assert (fields["schema"], fields["kind"], fields["ok"]) == ("fnn.check/1", "report", False)
    assert fields["counts"] == {"ok": 39, "wrong": 4, "kink": 1, "undecided": 1}
    assert same(Report.from_json(report.to_json()), report)


def test_what_is_not_finite_is_a_string():
    rows = strictly(full_report().to_json())["rows"]
    found = {r["method"]: r["hand"] for r in rows if r["path"] == "params/w"}
    assert (found["second order"], found["full Jacobian"]) == ("NaN", "-Infinity")
    inf = Report("a", (row(hand=math.inf, relative=math.nan),))
    back = Report.from_json(inf.to_json()).rows[0]
    assert back.hand == math.inf
    assert math.isnan(back.relative)


def test_a_network_comes_back_whole():
    report = network_report()
    fields = strictly(report.to_json())
    assert fields["kind"] == "network"
    assert [entry["ok"] for entry in fields["entries"]] == [False, True, True]
    assert same(NetworkReport.from_json(report.to_json()), report)


def test_a_report_without_an_environment_gets_that_of_this_process():
    fields = strictly(Report("a", (row(),)).to_json())
    assert fields["environment"] == environment()._asdict()
    assert fields["environment"]["dtype"] == "float64"
    assert Report.from_json(json.dumps(fields)).environment == environment()
    assert environment() != WHERE or environment().jax == WHERE.jax


def test_numbers_of_numpy_are_numbers():
    given = row(
        hand=np.float32(1.5), element=(np.int64(1), np.int64(2)), relative=np.float64(np.inf)
    )
    back = Report.from_json(Report("a", (given,)).to_json()).rows[0]
    assert (back.hand, back.element, back.relative) == (1.5, (1, 2), math.inf)


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"schema": "fnn.check/0", "kind": "report"}'])
def test_another_schema_is_refused(text):
    with pytest.raises(ValueError, match=r"expected JSON of the schema 'fnn.check/1'"):
        Report.from_json(text)


def test_a_network_is_no_report():
    with pytest.raises(ValueError, match=r"the kind 'report', got .*'network'"):
        Report.from_json(network_report().to_json())
    with pytest.raises(ValueError, match=r"the kind 'network', got .*'report'"):
        NetworkReport.from_json(full_report().to_json())


def test_a_missing_field_is_named():
    fields = strictly(full_report().to_json())
    del fields["rows"][0]["predicate"]
    with pytest.raises(ValueError, match=r"every field of the schema.*predicate"):
        Report.from_json(json.dumps(fields))
    del fields["branches"]
    with pytest.raises(ValueError, match=r"every field"):
        Report.from_json(json.dumps(fields))


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Expecting"):
        Report.from_json("wrong: 3 of 4")
