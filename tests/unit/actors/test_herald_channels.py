"""Every way out against a real server on loopback: what arrives, how failures differ, and that no secret leaks."""

import asyncio
import base64
import datetime
import http.server
import json
import logging
import pickle
import socket
import socketserver
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from actors.herald.channels import (
    Channel,
    DeliveryError,
    DiscordChannel,
    EmailChannel,
    WebhookChannel,
    WhatsappChannel,
    check_url,
    parse_channels,
)
from actors.herald.machine import Deliver, HeraldPolicy, Route
from actors.herald.shell import HeraldShell
from actors.messages import Alert, Severity
from actors.secrets import check_reference, read_secret

SECRET = "s3cr3t-token"
MESSAGE = Deliver(7, "ops", Severity.CRITICAL, "CRITICAL k\r\nBcc: all@x", "text @everyone", 2, "cause")


class HttpDouble(http.server.ThreadingHTTPServer):
    """Answers the statuses it is given, in turn (then 200), and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.pause_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/{SECRET}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HttpDouble

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        time.sleep(self.server.pause_s)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class SmtpDouble(socketserver.ThreadingTCPServer):
    """Enough of RFC 5321, AUTH PLAIN and STARTTLS to take a mail from smtplib."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _SmtpHandler)
        self.mails: list[bytes] = []
        self.logins: list[tuple[str, str, bool]] = []
        self.replies: dict[str, str] = {}  # verb -> reply instead of the usual
        self.tls: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _SmtpHandler(socketserver.BaseRequestHandler):
    server: SmtpDouble

    def handle(self) -> None:
        self.is_tls = False
        self.file = self.request.makefile("rb")
        self.say("220 double ready")
        while line := self.file.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            if not self.answer(verb.upper(), rest):
                return

    def say(self, text: str) -> None:
        self.request.sendall(text.encode() + b"\r\n")

    def answer(self, verb: str, rest: str) -> bool:
        if verb in self.server.replies:
            self.say(self.server.replies[verb])
        elif verb == "EHLO":
            self.say(
                "250-double\r\n250-STARTTLS\r\n250 AUTH PLAIN" if self.server.tls else "250-double\r\n250 AUTH PLAIN"
            )
        elif verb == "STARTTLS" and self.server.tls is not None:
            self.say("220 go")
            try:
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            except (ssl.SSLError, OSError):
                return False
            self.file, self.is_tls = self.request.makefile("rb"), True
        elif verb == "AUTH":
            _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
            self.server.logins.append((user, password, self.is_tls))
            self.say("235 in" if password == SECRET else "535 no")
        elif verb == "DATA":
            self.say("354 go on")
            lines = []
            while (line := self.file.readline()) != b".\r\n":
                lines.append(line[1:] if line.startswith(b"..") else line)
            self.server.mails.append(b"".join(lines))
            self.say("250 taken")
        elif verb == "QUIT":
            self.say("221 bye")
            return False
        else:
            self.say("250 ok")
        return True


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpDouble]:
    with serving(HttpDouble()) as server:
        monkeypatch.setenv("HOOK_URL", server.url)
        monkeypatch.setenv("HOOK_TOKEN", SECRET)
        yield server


@pytest.fixture
def smtp(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpDouble]:
    with serving(SmtpDouble()) as server:
        monkeypatch.setenv("MAIL_PASSWORD", SECRET)
        yield server


DISCORD = DiscordChannel("ops", "env:HOOK_URL", timeout_s=0.25)
WEBHOOK = WebhookChannel("ops", "env:HOOK_URL", "env:HOOK_TOKEN", timeout_s=0.25)
WHATSAPP = WhatsappChannel("ops", "env:HOOK_URL", "env:HOOK_TOKEN", "41790000000", timeout_s=0.25)
HTTP = [DISCORD, WEBHOOK, WHATSAPP]


def make_mail(port: int, **settings: Any) -> EmailChannel:
    given = {"security": "none", "username": "me", "password": "env:MAIL_PASSWORD", "timeout_s": 0.5} | settings
    return EmailChannel("ops", "127.0.0.1", "bot@x.example", ("a@x.example", "b@x.example"), port, **given)


# ---- what arrives


def test_discord_gets_an_embed_that_calls_nobody(web: HttpDouble) -> None:
    DISCORD.check()
    DISCORD.send(MESSAGE)
    [(path, _, body)] = web.requests
    assert path == f"/hooks/{SECRET}?wait=True"
    [embed] = body["embeds"]
    assert (embed["title"], embed["description"], embed["color"]) == (MESSAGE.title, "text @everyone", 0xE74C3C)
    assert body["allowed_mentions"] == {"parse": []}


def test_a_webhook_gets_json_and_the_token(web: HttpDouble) -> None:
    WEBHOOK.check()
    WEBHOOK.send(MESSAGE)
    [(_, headers, body)] = web.requests
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert body == {
        "id": 7,
        "severity": "critical",
        "title": MESSAGE.title,
        "text": "text @everyone",
        "cause_id": "cause",
        "attempt": 2,
    }


def test_whatsapp_gets_text_or_a_template_without_line_breaks(web: HttpDouble) -> None:
    WHATSAPP.check()
    WHATSAPP.send(MESSAGE)
    WhatsappChannel("ops", "env:HOOK_URL", "env:HOOK_TOKEN", "41790000000", template="alert").send(MESSAGE)
    text, template = (body for _, _, body in web.requests)
    assert text["to"] == "41790000000"
    assert text["text"]["body"].endswith("text @everyone")
    assert template["template"]["components"][0]["parameters"] == [
        {"type": "text", "text": "CRITICAL k Bcc: all@x: text @everyone"}
    ]


def test_mail_arrives_with_one_subject_line_and_no_smuggled_header(smtp: SmtpDouble) -> None:
    make_mail(smtp.port).send(MESSAGE)
    [mail] = [message_from_bytes(content, policy=policy.default) for content in smtp.mails]
    assert mail["Subject"] == "CRITICAL k Bcc: all@x"
    assert mail["Bcc"] is None
    assert mail["To"] == "a@x.example, b@x.example"
    assert mail["X-Trireme-Cause"] == "cause"
    assert mail.get_content().strip() == "text @everyone"
    assert smtp.logins == [("me", SECRET, False)]


def make_certificate(directory: Path) -> ssl.SSLContext:
    x509 = pytest.importorskip("cryptography.x509", reason="no library here to make a certificate with")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "double")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1)
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
    )
    certificate = builder.sign(key, hashes.SHA256())
    (directory / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    (directory / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "ca.pem", directory / "key.pem")
    return context


def test_starttls_comes_before_the_password_and_the_certificate_is_checked(smtp: SmtpDouble, tmp_path: Path) -> None:
    smtp.tls = make_certificate(tmp_path)
    make_mail(smtp.port, security="starttls", ca_file=str(tmp_path / "ca.pem")).send(MESSAGE)
    assert smtp.logins == [("me", SECRET, True)]
    with pytest.raises(DeliveryError, match="SSLCertVerificationError") as caught:
        make_mail(smtp.port, security="starttls").send(MESSAGE)
    assert not caught.value.is_transient
    assert len(smtp.logins) == 1, "the password must not follow a certificate that nobody vouches for"


def test_a_server_that_offers_no_tls_does_not_get_the_password(smtp: SmtpDouble) -> None:
    with pytest.raises(DeliveryError, match="SMTPNotSupportedError") as caught:
        make_mail(smtp.port, security="starttls").send(MESSAGE)
    assert not caught.value.is_transient
    assert smtp.logins == []


# ---- failures


@pytest.mark.parametrize("channel", HTTP, ids=lambda channel: type(channel).__name__)
@pytest.mark.parametrize(
    ("status", "is_transient"),
    [(400, False), (401, False), (404, False), (302, False), (429, True), (500, True), (503, True)],
)
def test_statuses_are_told_apart(web: HttpDouble, channel: Channel, status: int, is_transient: bool) -> None:
    web.statuses = [status]
    web.headers = {"Retry-After": "7", "Location": web.url}
    with pytest.raises(DeliveryError, match=f"HTTP {status}") as caught:
        channel.send(MESSAGE)
    assert caught.value.is_transient == is_transient
    assert caught.value.retry_after_s == 7.0
    assert len(web.requests) == 1, "no redirect is followed, nothing is retried in here"


@pytest.mark.parametrize("channel", HTTP, ids=lambda channel: type(channel).__name__)
@pytest.mark.parametrize("kind", ["silent", "refused"])
def test_silence_and_refused_connections_are_transient(
    web: HttpDouble, channel: Channel, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "silent":
        web.pause_s = 0.4
    else:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/{SECRET}")
    with pytest.raises(DeliveryError) as caught:
        channel.send(MESSAGE)
    assert caught.value.is_transient


@pytest.mark.parametrize(
    ("verb", "reply", "is_transient"),
    [
        ("MAIL", "451 later", True),
        ("RCPT", "550 nobody", False),
        ("RCPT", "450 later", True),
        ("AUTH", "535 no", False),
    ],
)
def test_smtp_replies_are_told_apart(smtp: SmtpDouble, verb: str, reply: str, is_transient: bool) -> None:
    smtp.replies[verb] = reply
    with pytest.raises(DeliveryError, match=reply[:3]) as caught:
        make_mail(smtp.port).send(MESSAGE)
    assert caught.value.is_transient == is_transient


# ---- secrets


def describe(error: BaseException) -> str:
    chain, text = error, ""
    while chain is not None:
        text += "".join(traceback.format_exception(chain)) + repr(chain) + repr(vars(chain))
        chain = chain.__cause__ or chain.__context__  # type: ignore[assignment]
    return text


@pytest.mark.parametrize("channel", HTTP, ids=lambda channel: type(channel).__name__)
@pytest.mark.parametrize("status", [200, 404, 0])
def test_no_secret_in_repr_pickle_errors_or_logs(
    web: HttpDouble, channel: Channel, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    web.statuses = [status or 200]
    web.pause_s = 0.0 if status else 0.4
    text = repr(channel) + repr(pickle.dumps(channel))
    try:
        channel.send(MESSAGE)
    except DeliveryError as error:
        text += describe(error)
    text += caplog.text
    assert SECRET not in text


def test_no_password_in_mail_errors(smtp: SmtpDouble) -> None:
    smtp.replies["AUTH"] = f"535 {SECRET} is wrong"
    channel = make_mail(smtp.port)
    with pytest.raises(DeliveryError) as caught:
        channel.send(MESSAGE)
    assert SECRET not in describe(caught.value) + repr(channel)


def test_a_keys_file_gives_its_secret_only_when_others_cannot_read_it(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"discord: {SECRET}\nnumber: 5\n")
    reference = f"file:{keys}#discord"
    keys.chmod(0o640)
    with pytest.raises(ValueError, match="can be read by others: chmod 600") as caught:
        read_secret(reference, "here")
    assert SECRET not in str(caught.value)
    keys.chmod(0o600)
    assert read_secret(reference, "here") == SECRET
    for key in ("none", "number"):
        with pytest.raises(ValueError, match=f"has no text under the key {key}"):
            read_secret(f"file:{keys}#{key}", "here")
    keys.write_text(f"{SECRET}: [")
    with pytest.raises(ValueError, match='"key: value"') as caught:
        read_secret(reference, "here")
    assert SECRET not in describe(caught.value)
    keys.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        read_secret(reference, "here")


@pytest.mark.parametrize("reference", [SECRET, "env:", "file:x", "file:#k", "file:x#", f"https://x/{SECRET}"])
def test_a_secret_in_plain_is_refused_and_not_shown(reference: str) -> None:
    with pytest.raises(ValueError, match="here, not the secret itself") as caught:
        check_reference(reference, "channel ops, url")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", [f"http://example.com/{SECRET}", f"ftp://x/{SECRET}", SECRET, f"http://[{SECRET}"])
def test_an_address_that_would_show_the_secret_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="channel ops: ") as caught:
        check_url(url, "channel ops")
    assert SECRET not in describe(caught.value)


# ---- settings


def test_settings_make_channels() -> None:
    mail = {"kind": "email", "host": "h", "sender": "a@b", "recipients": ["c@d"], "port": 25}
    channels = parse_channels({"ops": {"kind": "discord", "url": "env:X", "timeout_s": 3}, "mail": mail})
    assert channels["ops"] == DiscordChannel("ops", "env:X", timeout_s=3.0)
    assert channels["mail"] == EmailChannel("mail", "h", "a@b", ("c@d",), 25)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"kind": "pager"}, r"channel ops, kind: 'pager' is none of discord, webhook"),
        ({}, "channel ops, kind"),
        ({"kind": "discord"}, "channel ops: url missing"),
        ({"kind": "discord", "url": SECRET}, "channel ops, url: write"),
        ({"kind": "discord", "url": "env:X", "colour": 1}, "channel ops: unknown key 'colour', known are url"),
        ({"kind": "discord", "url": "env:X", "timeout_s": 0}, "channel ops, timeout_s: 0 is not a valid float"),
        ({"kind": "email", "host": "h", "sender": "a@b", "recipients": "c@d"}, "channel ops, recipients"),
    ],
)
def test_bad_settings_name_channel_and_key(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        parse_channels({"ops": settings})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"security": "ssl"}, "none of starttls, tls, none"),
        ({"host": "mail.example.com"}, "without TLS the password is shown"),
        ({"sender": "nobody"}, "'nobody' is not a mail address"),
        ({"recipients": ()}, "recipients: empty"),
        ({"password": "env:NOT_SET_ANYWHERE"}, "environment variable NOT_SET_ANYWHERE is not set"),
    ],
)
def test_mail_settings_are_checked(settings: dict[str, Any], match: str) -> None:
    given = {"host": "127.0.0.1", "sender": "a@b", "recipients": ("c@d",), "security": "none", "username": "me"}
    with pytest.raises(ValueError, match=match):
        EmailChannel("ops", **given | {"password": "env:PATH"} | settings).check()


# ---- the shell


def run_herald(
    channels: dict[str, Channel], use: Callable[[HeraldShell], Any], policy: HeraldPolicy | None = None
) -> None:
    async def run() -> None:
        herald = HeraldShell(policy or HeraldPolicy((Route(Severity.INFO, tuple(channels)),)), channels)
        await herald.start()
        try:
            await use(herald)
        finally:
            await herald.stop()
        assert herald._task is None

    asyncio.run(run())


def test_an_alert_reaches_every_channel_over_real_sockets_and_stop_waits_for_it(
    web: HttpDouble, smtp: SmtpDouble
) -> None:
    async def use(herald: HeraldShell) -> None:
        herald.notify(Alert(Severity.CRITICAL, "k", "text", 0))

    run_herald({"discord": DISCORD, "hook": WEBHOOK, "wa": WHATSAPP, "mail": make_mail(smtp.port)}, use)
    assert len(web.requests) == 3
    assert len(smtp.mails) == 1


def test_a_channel_that_hangs_holds_up_neither_the_caller_nor_the_others(web: HttpDouble) -> None:
    class Hanging:
        def __init__(self) -> None:
            self.release = threading.Event()

        def check(self) -> None: ...

        def send(self, message: Deliver) -> None:
            self.release.wait(10.0)

    hanging = Hanging()

    async def use(herald: HeraldShell) -> None:
        for number in range(20):
            herald.notify(Alert(Severity.CRITICAL, f"k{number}", "text", 0))
        while not web.requests:
            await asyncio.sleep(0.01)
        hanging.release.set()

    run_herald({"hanging": hanging, "hook": WEBHOOK}, use)
    assert web.requests[0][2]["text"] == "text"


def test_a_failure_is_retried_by_the_machine_over_the_wire(web: HttpDouble) -> None:
    web.statuses = [503, 200]
    policy = HeraldPolicy((Route(Severity.INFO, ("hook",)),), backoff_ns=10_000_000)

    async def use(herald: HeraldShell) -> None:
        herald.notify(Alert(Severity.CRITICAL, "k", "text", 0))
        while len(web.requests) < 2:
            await asyncio.sleep(0.01)
        assert herald.list_unacknowledged() == [("k", "text", 1)]
        herald.acknowledge("k", "me")
        while herald.list_unacknowledged():
            await asyncio.sleep(0.01)

    run_herald({"hook": WEBHOOK}, use, policy)
    assert [body["attempt"] for _, _, body in web.requests] == [1, 2]


def test_a_missing_secret_or_channel_is_named_before_anything_starts() -> None:
    policy = HeraldPolicy((Route(Severity.INFO, ("ops",)),))
    with pytest.raises(ValueError, match="no channel is named ops"):
        HeraldShell(policy, {})
    herald = HeraldShell(policy, {"ops": DiscordChannel("ops", "env:NOT_SET_ANYWHERE")})
    with pytest.raises(ValueError, match="channel ops, url: environment variable NOT_SET_ANYWHERE is not set"):
        asyncio.run(herald.start())
