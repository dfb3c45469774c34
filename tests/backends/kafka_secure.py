"""A broker that requires authentication, by every mechanism that we support."""

from tests.backends.certificates import Certificates, make_certificates
from tests.backends.kafka_broker import KafkaBroker
from tests.backends.server import free_port

USER, PASSWORD = "alice", "wonder@land/1"
_MODULE = "org.apache.kafka.common.security"
_SCRAM = f"{_MODULE}.scram.ScramLoginModule required;"
_PLAIN = f'{_MODULE}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
_OAUTH = f"{_MODULE}.oauthbearer.OAuthBearerLoginModule required;"


class SecureBroker(KafkaBroker):
    """Listens without security for the test itself, and as `sasl`, `both`, `tls` and `oauth`."""

    certificates: Certificates

    def __init__(self) -> None:
        super().__init__()
        self.certificates = make_certificates(self.directory)
        self.ports = {name: free_port() for name in ("sasl", "both", "tls", "oauth")}

    def listener(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    def _format_options(self) -> list[str]:
        words = [f"SCRAM-SHA-{bits}=[name={USER},password={PASSWORD}]" for bits in (256, 512)]
        return [option for word in words for option in ("--add-scram", word)]

    def _settings(self) -> dict[str, str]:
        settings = super()._settings()
        listeners = [f"{name.upper()}://127.0.0.1:{port}" for name, port in self.ports.items()]
        settings["listeners"] += "," + ",".join(listeners)
        pem = {"ssl.keystore.type": "PEM", "ssl.truststore.type": "PEM"}
        return {
            **settings,
            **pem,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SASL:SASL_PLAINTEXT,BOTH:SASL_SSL,TLS:SSL,OAUTH:SASL_PLAINTEXT",
            "ssl.keystore.location": str(self.certificates.server.both),
            "ssl.truststore.location": str(self.certificates.authority),
            "listener.name.tls.ssl.client.auth": "required",
            "listener.name.sasl.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.sasl.scram-sha-256.sasl.jaas.config": _SCRAM,
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": _SCRAM,
            "listener.name.both.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.both.scram-sha-512.sasl.jaas.config": _SCRAM,
            "listener.name.both.plain.sasl.jaas.config": _PLAIN,
            "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.oauth.oauthbearer.sasl.jaas.config": _OAUTH,
            # who came by a token has to come again
            "listener.name.oauth.oauthbearer.connections.max.reauth.ms": "1000",
            **self.config,
        }
