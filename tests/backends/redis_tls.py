"""Settings about certificates, for a redis-server and its clients."""

from invalidator.settings.security import RedisTls
from tests.backends.certificates import KEY_PASSWORD, Certificates
from tests.backends.server import free_port


def server_config(known: Certificates | None, *, cluster: bool = False) -> dict[str, str]:
    """Return the configuration of a second port with TLS, which requires a client certificate."""
    if known is None:
        return {}
    return {
        "tls-port": str(free_port()),
        "tls-ca-cert-file": str(known.authority),
        "tls-cert-file": str(known.server.certificate),
        "tls-key-file": str(known.server.key),
        "tls-auth-clients": "yes",
        "tls-replication": "yes",
        **({"tls-cluster": "yes"} if cluster else {}),
    }


def client_options(known: Certificates) -> dict[str, str]:
    """Return the options in the form of the settings."""
    settings = RedisTls.model_validate(
        {
            "ca_file": known.authority,
            "cert_file": known.client.certificate,
            "key_file": known.client.key,
            "key_password": KEY_PASSWORD,
        }
    )
    return dict(settings.options())
