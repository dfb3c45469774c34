"""What of a key reaches a source of truth, and how."""

import pytest

from invalidator.freshness.truth import captured, filled_url, query
from invalidator.templates import parse


@pytest.mark.parametrize(
    ("template", "prefix", "key", "values"),
    [
        ("order:{id}", "", "order:7", {"id": "7"}),
        ("order:{id}", "shop:", "shop:order:7", {"id": "7"}),
        ("order:{id}", "shop:", "order:7", None),
        ("o:{customer.id}:{id}", "", "o:c1:7", {"customer.id": "c1", "id": "7"}),
        ("o[{id}]", "", "o[x\ny]", {"id": "x\ny"}),
        ("{email|lower}", "", "ann@example.com", {"email": "ann@example.com"}),
        ("order:all", "", "order:all", {}),
    ],
)
def test_values_are_those_of_the_key(
    template: str, prefix: str, key: str, values: dict[str, str] | None
) -> None:
    assert captured(parse(template), prefix, key) == values


def test_a_value_adds_no_part_to_a_url() -> None:
    url = filled_url(parse("http://host/{id}?x=1"), {"id": "../a?b=c&d#e"})
    assert url == "http://host/..%2Fa%3Fb%3Dc%26d%23e?x=1"


def test_values_are_arguments_of_a_query_and_never_text() -> None:
    sql = parse("select v from t where name like 'a%' and id = {id}")
    text, arguments = query(sql, {"id": "1; drop table t"})
    assert text == "select v from t where name like 'a%%' and id = %(v1)s"
    assert arguments == {"v1": "1; drop table t"}
