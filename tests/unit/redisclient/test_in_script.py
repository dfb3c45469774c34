"""How Redis 6 says, in a script, that it became a replica."""

from redis.exceptions import ResponseError

from invalidator.redisclient.exchange import _in_script

SAID = (
    "Error running script (call to f_f305cd78): @user_script:33: @user_script: 33: "
    "-READONLY You can't write against a read only replica."
)


def test_a_script_of_redis_6_says_that_it_is_on_a_replica() -> None:
    assert _in_script(ResponseError(SAID))
    assert not _in_script(ResponseError("WRONGTYPE the tag is a string, not a set"))
    assert not _in_script([b"-READONLY "])
