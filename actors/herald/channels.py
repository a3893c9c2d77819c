"""The ways out: Discord, a generic webhook, WhatsApp's HTTP API, e-mail. Blocking; the shell calls them in threads.

A channel holds references to secrets, never secrets: its repr, its pickle and its errors can be shown. Errors carry
the kind of failure and the status code; what libraries say is left out, because it quotes the address.
"""

import http.client
import json
import logging
import re
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from email.message import EmailMessage
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

import requests
from discord_webhook import DiscordEmbed, DiscordWebhook

from actors.herald.machine import Deliver
from actors.messages import Severity
from actors.secrets import check_reference, read_secret

COLORS = {Severity.INFO: 0x3498DB, Severity.WARNING: 0xF1C40F, Severity.CRITICAL: 0xE74C3C}
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
RETRY_AFTER_S_MAX = 3600.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class DeliveryError(Exception):
    """A message did not get through. `is_transient`: the same message may pass later."""

    def __init__(self, message: str, is_transient: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.is_transient = is_transient
        self.retry_after_s = retry_after_s


class Channel(Protocol):
    """A way to a person."""

    def check(self) -> None:
        """Raise ValueError when a setting or a secret is missing or wrong."""

    def send(self, message: Deliver) -> None:
        """Return when the other side has taken the message; raise DeliveryError, or ValueError for settings."""


def check_url(url: str, where: str) -> str:
    """Return a URL that is safe to send secrets to; ValueError otherwise. The URL is a secret: it is not shown."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError(f"{where}: not an http or https address")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError(f"{where}: plain http would show the secret on the way: use https")
    return url


@dataclass(frozen=True, slots=True)
class DiscordChannel:
    """A Discord webhook, through the discord-webhook library. `url`: reference to the webhook's address."""

    secrets: ClassVar[tuple[str, ...]] = ("url",)
    name: str
    url: str
    username: str = "Trireme"
    timeout_s: float = 10.0

    def check(self) -> None:
        """See Channel."""
        self._read_url()

    def _read_url(self) -> str:
        where = f"channel {self.name}, url"
        return check_url(read_secret(self.url, where), where)

    def send(self, message: Deliver) -> None:
        """See Channel."""
        # urllib3 writes the path, which holds the webhook's token, to its log at DEBUG.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
        webhook = DiscordWebhook(
            url=self._read_url(),
            username=self.username,
            timeout=self.timeout_s,
            allowed_mentions={"parse": []},  # a text of ours must not call everyone
        )
        color = COLORS[message.severity]
        webhook.add_embed(DiscordEmbed(title=message.title[:256], description=message.text[:4096], color=color))
        failure = ""
        try:
            # Not execute(): it logs what the server said and fails on an empty answer.
            response = webhook.api_post_request()
        except requests.RequestException as error:
            failure = type(error).__name__
        if failure:
            raise DeliveryError(f"discord: {failure}", is_transient=True)
        first = (response.history or [response])[0]  # a redirect turns the POST into a GET: the message is not there
        if first.status_code not in (200, 204):
            raise _make_http_error("discord", first.status_code, first.headers.get("Retry-After", ""))


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Any address that takes a POST of JSON: id, severity, title, text, cause_id, attempt.

    `url` and `token` (sent as a bearer token; "": none) are references to secrets.
    """

    secrets: ClassVar[tuple[str, ...]] = ("url", "token")
    name: str
    url: str
    token: str = ""
    timeout_s: float = 10.0

    def check(self) -> None:
        """See Channel."""
        self._read()

    def _read(self) -> tuple[str, str]:
        where = f"channel {self.name}, url"
        token = read_secret(self.token, f"channel {self.name}, token") if self.token else ""
        return check_url(read_secret(self.url, where), where), token

    def send(self, message: Deliver) -> None:
        """See Channel."""
        url, token = self._read()
        body = {
            "id": message.delivery_id,
            "severity": message.severity.value,
            "title": message.title,
            "text": message.text,
            "cause_id": message.cause_id,
            "attempt": message.attempt,
        }
        _post_json("webhook", url, token, body, self.timeout_s)


@dataclass(frozen=True, slots=True)
class WhatsappChannel:
    """WhatsApp's Cloud API, or a gateway that speaks it: POST {url} with a bearer token.

    Free text reaches a person only within 24 hours of their last message to us; outside, WhatsApp wants an approved
    template: name it in `template`, with one text parameter in its body.
    Source: WhatsApp Cloud API reference, "Messages".
    """

    secrets: ClassVar[tuple[str, ...]] = ("url", "token")
    name: str
    url: str  # reference; "https://graph.facebook.com/<version>/<phone number id>/messages"
    token: str  # reference
    recipient: str  # telephone number with country code, digits only
    template: str = ""
    language: str = "en"
    timeout_s: float = 10.0

    def check(self) -> None:
        """See Channel."""
        if not re.fullmatch(r"[0-9]{6,15}", self.recipient):
            raise ValueError(f"channel {self.name}, recipient: {self.recipient!r} is not a number of 6 to 15 digits")
        self._read()

    def _read(self) -> tuple[str, str]:
        where = f"channel {self.name}, url"
        return check_url(read_secret(self.url, where), where), read_secret(self.token, f"channel {self.name}, token")

    def send(self, message: Deliver) -> None:
        """See Channel."""
        url, token = self._read()
        text = f"{message.title}: {message.text}"[:4096]
        body: dict[str, Any] = {"messaging_product": "whatsapp", "to": self.recipient}
        if self.template:
            # A parameter may hold no line breaks and at most 1024 characters.
            parameter = {"type": "text", "text": " ".join(text.split())[:1024]}
            components = [{"type": "body", "parameters": [parameter]}]
            template = {"name": self.template, "language": {"code": self.language}, "components": components}
            body |= {"type": "template", "template": template}
        else:
            body |= {"type": "text", "text": {"body": text}}
        _post_json("whatsapp", url, token, body, self.timeout_s)


@dataclass(frozen=True, slots=True)
class EmailChannel:
    """Mail through an SMTP server. `security`: "starttls", "tls", or "none" (loopback only). `password`: reference."""

    secrets: ClassVar[tuple[str, ...]] = ("password",)
    name: str
    host: str
    sender: str
    recipients: tuple[str, ...]
    port: int = 587
    security: str = "starttls"
    username: str = ""
    password: str = ""
    ca_file: str = ""  # "": the system's authorities
    timeout_s: float = 10.0

    def check(self) -> None:
        """See Channel."""
        where = f"channel {self.name}"
        if self.security not in ("starttls", "tls", "none"):
            raise ValueError(f"{where}, security: {self.security!r} is none of starttls, tls, none")
        if self.security == "none" and self.host not in _LOOPBACK:
            raise ValueError(f"{where}, security: without TLS the password is shown on the way: use starttls or tls")
        for address in (self.sender, *self.recipients):
            if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
                raise ValueError(f"{where}: {address!r} is not a mail address")
        if not self.recipients:
            raise ValueError(f"{where}, recipients: empty, name at least one")
        self._read_password()

    def _read_password(self) -> str:
        return read_secret(self.password, f"channel {self.name}, password") if self.username else ""

    def send(self, message: Deliver) -> None:
        """See Channel."""
        self.check()
        password = self._read_password()
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        mail["Subject"] = " ".join(message.title.split())[:200]  # a line break would begin another header
        mail["X-Trireme-Cause"] = " ".join(message.cause_id.split()) or "none"
        mail.set_content(message.text)
        code, failure = 0, ""
        try:
            self._deliver(mail, password)
        except smtplib.SMTPRecipientsRefused as error:
            code, failure = max(refusal[0] for refusal in error.recipients.values()), "SMTPRecipientsRefused"
        except smtplib.SMTPResponseException as error:
            code, failure = error.smtp_code, type(error).__name__
        except (smtplib.SMTPException, OSError) as error:
            failure = type(error).__name__
            code = 550 if isinstance(error, smtplib.SMTPNotSupportedError | ssl.SSLCertVerificationError) else 0
        if failure:
            raise DeliveryError(f"email: {failure} {code or ''}".rstrip(), is_transient=code < 500)

    def _deliver(self, mail: EmailMessage, password: str) -> None:
        context = ssl.create_default_context(cafile=self.ca_file or None)
        host = socket.gethostname()  # smtplib would ask a name server for more
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, host, timeout=self.timeout_s, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, host, timeout=self.timeout_s)
        with server:
            if self.security == "starttls":
                server.starttls(context=context)
            if self.username:
                server.login(self.username, password)
            server.send_message(mail)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # A redirect would carry the token to another host, and turn the POST into a GET.
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post_json(kind: str, url: str, token: str, body: Mapping[str, Any], timeout_s: float) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "trireme"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(body, allow_nan=False).encode(), headers, method="POST")
    status, retry_after, failure = 0, "", ""
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s) as response:
            status = response.status
    except urllib.error.HTTPError as error:
        status, retry_after = error.code, error.headers.get("Retry-After", "") or ""
        error.close()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None)
        failure = type(reason if isinstance(reason, Exception) else error).__name__
    if failure:
        raise DeliveryError(f"{kind}: {failure}", is_transient=True)
    if not 200 <= status < 300:
        raise _make_http_error(kind, status, retry_after)


def _make_http_error(kind: str, status: int, retry_after: str) -> DeliveryError:
    is_number = re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", retry_after.strip()) is not None
    retry_after_s = min(float(retry_after), RETRY_AFTER_S_MAX) if is_number else 0.0
    return DeliveryError(f"{kind}: HTTP {status}", status in TRANSIENT_STATUSES, retry_after_s)


KINDS: dict[str, type[Any]] = {
    "discord": DiscordChannel,
    "webhook": WebhookChannel,
    "whatsapp": WhatsappChannel,
    "email": EmailChannel,
}


def parse_channels(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Channel]:
    """Return the channels of the settings: name -> {"kind": ..., and the fields of that kind's class}.

    Raises: ValueError naming the channel and the key: unknown, missing, of the wrong type, or a secret in plain.
    """
    channels: dict[str, Channel] = {}
    for name, given in settings.items():
        where = f"channel {name}"
        cls = KINDS.get(str(given.get("kind", "")))
        if cls is None:
            raise ValueError(f"{where}, kind: {given.get('kind')!r} is none of {', '.join(KINDS)}")
        allowed = {field.name: field for field in fields(cls) if field.name != "name"}
        values: dict[str, Any] = {}
        for key, value in given.items():
            if key == "kind":
                continue
            if key not in allowed:
                raise ValueError(f"{where}: unknown key {key!r}, known are {', '.join(allowed)}")
            if key in cls.secrets and value:
                check_reference(str(value), f"{where}, {key}")
            values[key] = _convert(allowed[key].type, value, f"{where}, {key}", is_shown=key not in cls.secrets)
        try:
            channels[name] = cls(name=name, **values)
        except TypeError:
            missing = [key for key, field in allowed.items() if key not in values and field.default is MISSING]
            raise ValueError(f"{where}: {', '.join(missing)} missing") from None
    return channels


def _convert(kind: Any, value: Any, where: str, *, is_shown: bool) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536:
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    shown = repr(value) if is_shown else "the value"
    raise ValueError(f"{where}: {shown} is not a valid {getattr(kind, '__name__', kind)}")
