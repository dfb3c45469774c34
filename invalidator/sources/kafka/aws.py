"""Tokens for Amazon MSK: signed by the daemon's IAM role, as AWS's own library does it."""

import asyncio
import ssl
import time
from collections.abc import Callable
from importlib.util import find_spec

from invalidator.errors import ConfigError
from invalidator.settings.security import Sasl
from invalidator.sources.kafka.oauth import Token, Tokens

SIGNER = "aws_msk_iam_sasl_signer"


class IamTokens(Tokens):
    """Signs a token whenever one is needed. The role comes from where AWS's libraries look for it:
    the pod's service account, the instance, or AWS_* variables."""

    def __init__(
        self,
        sasl: Sasl,
        trusted: Callable[[], ssl.SSLContext],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(sasl, trusted, clock)
        self.server = f"IAM in {sasl.region}"
        self._now = now
        if find_spec(SIGNER) is None:
            raise ConfigError(
                "INVALIDATOR_KAFKA__SASL__MECHANISM=aws-msk-iam requires AWS's library: "
                "pip install 'invalidator[aws]'"
            )

    async def _fetch(self) -> Token:
        text, ends_at_ms = await asyncio.to_thread(_sign, self._sasl.region)
        return Token.living(text, ends_at_ms / 1000 - self._now(), self._clock())


def _sign(region: str) -> tuple[str, int]:
    """Return a token, and when it ends. It may ask AWS for the credentials of the role."""
    from aws_msk_iam_sasl_signer.MSKAuthTokenProvider import generate_auth_token

    try:
        signed: tuple[str, int] = generate_auth_token(region)
    except AttributeError:  # its way to say that there are none
        raise ValueError(
            "no AWS credentials: give the pod or instance a role, or set AWS_ACCESS_KEY_ID"
        ) from None
    return signed
