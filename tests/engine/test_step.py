import pytest

from datatrial.engine.step import Step, upstream_first
from tests.engine.tasks import Content, Write


def test_label_and_input_order_do_not_change_the_digest():
    a, b = Step(Write("a")), Step(Write("b"))
    one = Step(Write("c"), {"a": a, "b": b}, label="one name")
    other = Step(Write("c"), {"b": b, "a": a}, label="another name")
    assert one.digest == other.digest


def test_settings_inputs_and_externals_each_change_the_digest(tmp_path):
    step = Step(Write("c"), {"x": Step(Write("a"))}, {"file": Content(tmp_path, "1")})
    others = [
        Step(Write("d"), step.inputs, step.externals),
        Step(Write("c"), {"x": Step(Write("b"))}, step.externals),
        Step(Write("c"), {"y": Step(Write("a"))}, step.externals),
        Step(Write("c"), step.inputs, {"file": Content(tmp_path, "2")}),
        Step(Write("c"), step.inputs),
    ]
    assert len({step.digest, *(o.digest for o in others)}) == len(others) + 1


def test_where_an_external_lies_does_not_change_the_digest(tmp_path):
    here, there = (Step(Write("c"), {}, {"file": Content(tmp_path / place)}) for place in ("here", "there"))
    assert here.digest == there.digest


def test_a_setting_that_json_cannot_write_exactly_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = Step(Write(float("nan"))).digest  # type: ignore[arg-type]


def test_steps_come_after_their_inputs_and_once():
    base = Step(Write("base"))
    left, right = Step(Write("l"), {"x": base}), Step(Write("r"), {"x": Step(Write("base"))})
    top = Step(Write("top"), {"l": left, "r": right})
    order = [s.task.text for s in upstream_first(top, left)]
    assert order == ["base", "l", "r", "top"]
