"""Every known property: what it accepts and what makes a message unusable (spec messages.md 4, 7, 8 and 9)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from relayq.model import DsnOptions, Message, ResultQueues, Smarthost
from relayq.model.message_json import InvalidMessageError, ParseRules, decode_members, parse_message

AT = datetime(2031, 5, 1, 7, 30, tzinfo=UTC)
WRONG_TYPES = ("1", "true", "[1]", "1.5")


def parse(text: str, **rules: Any) -> Message:
    """The message of a JSON object, recipient and mime added unless the text names them."""
    body = text.strip()[1:-1]
    for name, value in (("recipient", '"a@x.test"'), ("mime", '"x"')):
        if f'"{name}"' not in body:
            body = f'"{name}":{value}' + ("," + body if body else "")
    return parse_message(decode_members(("{" + body + "}").encode()), ParseRules(**rules))


def refused(text: str, **rules: Any) -> InvalidMessageError:
    with pytest.raises(InvalidMessageError) as caught:
        parse(text, **rules)
    assert not caught.value.is_missing_content
    return caught.value


def test_everything_but_the_recipient_and_a_content_is_optional() -> None:
    members = decode_members(b'{"recipient":"a@x.test","mime":"x"}')

    message = parse_message(members, ParseRules())

    assert message == Message(members=members, sender=None, recipient=message.recipient, mime=b"x")
    assert message.recipient.wire == b"a@x.test"


@pytest.mark.parametrize(
    "name",
    [
        "envelope", "key", "data", "ips", "force", "delayed", "maxdelivertime", "maxattempts", "inlinecss", "dkim",
        "dsn", "queues", "keepmime", "smarthost", "results", "seen", "nextattempt", "retries", "tags", "priority",
        "security",
    ],
)  # fmt: skip
def test_null_counts_as_absent(name: str) -> None:
    message = parse(f'{{"{name}":null}}')

    assert message == Message(members=message.members, sender=None, recipient=message.recipient, mime=b"x")
    assert bytes(message.members[name]) == b"null"


@pytest.mark.parametrize(
    "name", ["Recipient", "MIME", "mime ", "order-id", "x-trace", "received", "message-id", "pool"]
)
@pytest.mark.parametrize("value", ['"x"', "[1]", '{"a":1e400}', r'"\ud83d"', "12345678901234567890"])
def test_a_custom_property_may_be_anything(name: str, value: str) -> None:
    message = parse(f'{{"{name}":{value}}}')

    assert message.recipient.text == "a@x.test"
    assert bytes(message.members[name]).decode() == value


# --- envelope and recipient ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ['""', '" "', '"<>"', '" <> "', "null"])
def test_the_null_sender_has_many_spellings(value: str) -> None:
    assert parse(f'{{"envelope":{value}}}').sender is None


def test_the_sender_is_an_address() -> None:
    sender = parse('{"envelope":" b@shop.example "}').sender

    assert sender is not None
    assert sender.text == "b@shop.example"


@pytest.mark.parametrize("value", [*WRONG_TYPES, '"b"', '"<b@x.test>"', '"\\t"', '"<>x"', '["b@x.test"]', "{}"])
def test_what_is_no_sender_is_refused(value: str) -> None:
    assert refused(f'{{"envelope":{value}}}').property_name == "envelope"


@pytest.mark.parametrize(
    "value",
    [
        *WRONG_TYPES, "null", '""', '" "', '"<>"', '["a@x.example","b@x.example"]', '"Anna <a@x.example>"',
        '"<a@x.example>"', r'"a@x.example\r\nDATA"', '"postmaster"', '{"address":"a@x.example"}', r'"\ud83d@x.example"',
    ],
)  # fmt: skip
def test_what_is_no_recipient_is_refused(value: str) -> None:
    assert refused(f'{{"recipient":{value}}}').property_name == "recipient"


def test_a_missing_recipient_is_refused() -> None:
    for body in (b"{}", b'{"Recipient":"a@x.test","mime":"x"}'):
        with pytest.raises(InvalidMessageError, match=r"^recipient: missing$") as caught:
            parse_message(decode_members(body), ParseRules())
        assert not caught.value.is_missing_content


def test_loose_rules_apply_to_their_own_address_only() -> None:
    odd = "a..b@x.test"

    assert parse(f'{{"recipient":"{odd}"}}', loose_recipient=True).recipient.text == odd
    assert refused(f'{{"recipient":"{odd}"}}', loose_envelope=True).property_name == "recipient"
    assert parse(f'{{"envelope":"{odd}"}}', loose_envelope=True).sender is not None
    assert refused(f'{{"envelope":"{odd}"}}', loose_recipient=True).property_name == "envelope"


def test_literals_and_international_addresses_are_recipients() -> None:
    assert parse('{"recipient":"user@[192.0.2.7]"}').recipient.literal_ip == "192.0.2.7"
    assert parse('{"recipient":"jürgen@x.example"}').recipient.needs_smtputf8
    assert parse('{"recipient":"info@bücher.example"}').recipient.wire == b"info@xn--bcher-kva.example"


# --- content ------------------------------------------------------------------------------------------------------


def test_mime_is_a_string_taken_as_it_is() -> None:
    text = "From: é\r\n\r\n.\u0000\U0001f600"

    assert parse(f'{{"mime":{json.dumps(text)}}}').mime == text.encode()
    assert parse('{"mime":"RnJvbTogYQ=="}').mime == b"RnJvbTogYQ=="
    assert parse('{"mime":" "}').mime == b" "


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_large_mime_is_left_alone_until_it_is_needed(*, ascii_only: bool) -> None:
    text = "Grüße 📰\r\n" * 100_000
    message = parse(f'{{"mime":{json.dumps(text, ensure_ascii=ascii_only)}}}')
    assert (message.mime, message.mime_object) == (None, None)
    assert message.large_mime is not None
    assert message.read_mime() == text.encode()
    assert parse('{"mime":"x"}').read_mime() == b"x"


def test_half_a_surrogate_pair_in_a_large_mime_is_found_at_once() -> None:
    lines = "line\\n" * 300_000
    assert refused(f'{{"mime":"{lines}\\ud800{lines}"}}').property_name == "mime"


def test_mime_may_be_an_object_that_is_left_alone() -> None:
    value = r'{ "subject" : "\ud83d", "n" : 1e400 }'

    message = parse(f'{{"mime":{value}}}')

    assert message.mime is None
    assert message.mime_object is not None
    assert bytes(message.mime_object).decode() == value


@pytest.mark.parametrize("value", ["[]", "[1]", "1", "true", "false", r'"\ud83d"'])
def test_mime_of_another_type_is_refused(value: str) -> None:
    assert refused(f'{{"mime":{value}}}').property_name == "mime"


@pytest.mark.parametrize("mime", ['""', "{}", "{ }", "null"])
def test_without_content_the_store_is_to_blame(mime: str) -> None:
    with pytest.raises(InvalidMessageError, match="neither mime nor key") as caught:
        parse(f'{{"mime":{mime},"keepmime":true,"queues":{{"failure":"f"}}}}')

    assert caught.value.is_missing_content
    assert caught.value.keep_mime
    assert caught.value.queues == ResultQueues(failure="f")


def test_a_message_that_is_unusable_anyway_is_not_the_stores_fault() -> None:
    assert refused('{"mime":"","maxattempts":-1}').property_name == "maxattempts"


def test_a_key_is_content_as_well() -> None:
    message = parse('{"mime":{},"key":"campaign-77/anna"}')

    assert (message.key, message.mime, message.mime_object) == ("campaign-77/anna", None, None)
    both = parse('{"mime":"x","key":"k"}')
    assert (both.key, both.mime) == ("k", b"x")


@pytest.mark.parametrize("value", ['""', f'"{"k" * 1025}"', "1", "true", "{}", "[]", r'"\udc00"'])
def test_what_is_no_key_is_refused(value: str) -> None:
    assert refused(f'{{"key":{value}}}').property_name == "key"


@pytest.mark.parametrize(
    ("value", "kept"),
    [('{"a":[1e400]}', '{"a":[1e400]}'), ("{}", "{}"), ("[]", "{}"), (r'{"a":"\udc00"}', r'{"a":"\udc00"}')],
)
def test_data_is_an_object_of_anything(value: str, kept: str) -> None:
    data = parse(f'{{"data":{value}}}').data

    assert data is not None
    assert bytes(data).decode() == kept


@pytest.mark.parametrize("value", ['"x"', "[1]", "1", "true", '""'])
def test_data_of_another_type_is_refused(value: str) -> None:
    assert refused(f'{{"data":{value}}}').property_name == "data"


@pytest.mark.parametrize(
    ("name", "field"), [("keepmime", "keep_mime"), ("force", "force"), ("inlinecss", "inline_css")]
)
def test_switches_are_booleans_in_every_spelling(name: str, field: str) -> None:
    for value, expected in (("true", True), ('"YES"', True), ("0", False), ('""', False), ("1e400", True)):
        assert getattr(parse(f'{{"{name}":{value}}}'), field) is expected
    for value in ('"perhaps"', "[]", "{}", r'"\udc00"'):
        assert refused(f'{{"{name}":{value}}}').property_name == name


# --- where from and where to --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "ips"),
    [
        ('"192.0.2.1"', None),
        ("{}", None),
        ("1", None),
        ("false", None),
        ("[]", ()),
        ('["localhost","192.0.2.0/24","fe80::1%eth0",null,1,["192.0.2.1"],1e400,""]', ()),
        ('["192.0.2.10","192.0.2.11"]', ("192.0.2.10", "192.0.2.11")),
        ('["nonsense","2001:DB8::25","2001:db8:0:0::25",{}]', ("2001:db8::25",)),
    ],
)
def test_ips_falls_back_or_skips_but_never_fails(value: str, ips: tuple[str, ...] | None) -> None:
    assert parse(f'{{"ips":{value}}}').ips == ips


def test_a_smarthost_needs_a_host_only() -> None:
    assert parse('{"smarthost":{"hostname":"Relay.example.NET."}}').smarthost == Smarthost(hostname="relay.example.net")


@pytest.mark.parametrize(
    ("value", "smarthost"),
    [
        ('{"name":"r.test","port":"587"}', Smarthost(hostname="r.test", port=587)),
        ('{"hostname":"h.test","name":5,"port":null}', Smarthost(hostname="h.test")),
        ('{"hostname":null,"name":"n.test"}', Smarthost(hostname="n.test")),
        ('{"hostname":"192.0.2.7","port":65535.0}', Smarthost(hostname="192.0.2.7", port=65535)),
        ('{"hostname":"2001:DB8::7","x":1e400}', Smarthost(hostname="2001:db8::7")),
        ('{"hostname":" bücher.example "}', Smarthost(hostname="xn--bcher-kva.example")),
        (
            r'{"hostname":"r.test","username":"ü","password":"p\r\n","z":"\ud83d"}',
            Smarthost(hostname="r.test", username="ü", password="p\r\n"),
        ),
    ],
)
def test_forms_of_a_smarthost(value: str, smarthost: Smarthost) -> None:
    assert parse(f'{{"smarthost":{value}}}').smarthost == smarthost


@pytest.mark.parametrize(
    "value",
    [
        "{}", "[]", '"relay.test"', "1", "[1]", '{"port":25}', '{"hostname":""}', '{"hostname":" "}', '{"hostname":5}',
        '{"hostname":"a b"}', '{"hostname":"a_b"}', '{"hostname":"a.."}', '{"hostname":"[192.0.2.7]"}',
        r'{"hostname":"a.test\r\nx"}', '{"hostname":"h.test","port":0}', '{"hostname":"h.test","port":65536}',
        '{"hostname":"h.test","port":true}', '{"hostname":"h.test","port":"smtp"}', '{"hostname":"h.test","port":[25]}',
        '{"hostname":"h.test","username":"u"}', '{"hostname":"h.test","password":"p"}',
        '{"hostname":"h.test","username":"u","password":null}', '{"hostname":"h.test","username":1,"password":"p"}',
        r'{"hostname":"h.test","username":"u\u0000","password":"p"}',
        r'{"hostname":"h.test","username":"u","password":"\ud83d"}',
    ],
)  # fmt: skip
def test_what_is_no_smarthost_is_refused(value: str) -> None:
    assert refused(f'{{"smarthost":{value}}}').property_name == "smarthost"


@pytest.mark.parametrize("level", ["optional", "opportunistic", "required", "verified"])
def test_security_is_one_of_four_levels(level: str) -> None:
    assert parse(f'{{"security":"{level}"}}').security == level


@pytest.mark.parametrize("value", ['"Required"', '"none"', '""', "1", "true", "[]"])
def test_any_other_level_is_refused(value: str) -> None:
    assert refused(f'{{"security":{value}}}').property_name == "security"


# --- when and how often -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["delayed", "maxdelivertime"])
def test_instants_have_the_one_form(name: str) -> None:
    message = parse(f'{{"{name}":"2031-05-01 07:30:00"}}')

    assert (message.delayed_at or message.deadline_at) == AT
    for value in ('"2031-05-01T08:00:00Z"', "1935392400", '""', "[]", "true", '"2016-02-30 00:00:00"'):
        assert refused(f'{{"{name}":{value}}}').property_name == name


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('{"nextattempt":{"time":"2031-05-01 07:30:00","other":1e400}}', AT),
        ('{"nextattempt":{"time":"2031-05-01 07:30:00"},"delayed":"2031-05-01 07:29:59"}', AT),
        ('{"delayed":"2031-05-01 07:30:00","nextattempt":{"time":"2031-05-01 07:29:59"}}', AT),
        ('{"nextattempt":{"time":null}}', None),
        ('{"nextattempt":{}}', None),
        ('{"nextattempt":[]}', None),
    ],
)
def test_the_later_of_both_delays_counts(text: str, at: datetime | None) -> None:
    assert parse(text).delayed_at == at


@pytest.mark.parametrize("value", ['"2031-05-01 07:30:00"', '{"time":"tomorrow"}', '{"time":5}', "[1]"])
def test_what_is_no_next_attempt_is_refused(value: str) -> None:
    assert refused(f'{{"nextattempt":{value}}}').property_name == "nextattempt"


@pytest.mark.parametrize(("value", "number"), [("0", 0), ("3", 3), ('"3"', 3), ("3.0", 3), ("1" + "0" * 30, 10**30)])
def test_maxattempts_is_an_integer(value: str, number: int) -> None:
    assert parse(f'{{"maxattempts":{value}}}').max_attempts == number


@pytest.mark.parametrize("value", ["-1", "0.5", "true", '"-1"', '"1.0"', '"many"', "[]", "1e400", "9" * 6000])
def test_what_is_no_number_of_attempts_is_refused(value: str) -> None:
    assert refused(f'{{"maxattempts":{value}}}').property_name == "maxattempts"


def test_retries_is_a_list_of_seconds() -> None:
    assert parse('{"retries":[60,"300",3600.0]}').retries == (60, 300, 3600)
    for value in ("[]", "{}", "60", "[0]", "[-1]", "[1.5]", '["soon"]', "[null]", "[1e400]"):
        assert refused(f'{{"retries":{value}}}').property_name == "retries"


def test_priority_is_an_octet() -> None:
    assert [parse(f'{{"priority":{value}}}').priority for value in ("0", '"255"')] == [0, 255]
    for value in ("-1", "256", "true", '"high"'):
        assert refused(f'{{"priority":{value}}}').property_name == "priority"


def test_tags_are_strings() -> None:
    assert parse('{"tags":["spring","é"]}').tags == ("spring", "é")
    assert parse('{"tags":"spring"}').tags == ("spring",)
    for value in ("1", "{}", "[1]", '["a",null]', r'["\ud83d"]'):
        assert refused(f'{{"tags":{value}}}').property_name == "tags"


# --- dkim and dsn -------------------------------------------------------------------------------------------------

KEY = '"domain":"Shop.example","selector":"s1_2031.eu","key":"MIIB"'


@pytest.mark.parametrize(
    "value",
    [
        f"{{{KEY}}}",
        f"[{{{KEY}}},{{{KEY}}}]",
        f'{{{KEY},"expire":"2031-05-01 07:30:00","headers":["feedback-id"],"weight":1e400}}',
        f'{{{KEY},"canonicalization":"Relaxed","protocols":["DKIM","arc"],"report":"yes","priority":-2,"oversign":0}}',
        f'{{{KEY},"algorithm":"sha1","identity":"@shop.example","priority":"3","report":null,"protocols":[]}}',
        f'{{{KEY},"expire":null,"headers":null}}',
        f'{{{KEY},"headers":[]}}',
        '{"domain":"bücher.example","selector":"s","key":"k"}',
    ],
)
def test_dkim_is_left_as_it_is(value: str) -> None:
    dkim = parse(f'{{"dkim":{value}}}').dkim

    assert dkim is not None
    assert bytes(dkim).decode() == value


def test_no_dkim_keys_are_no_dkim() -> None:
    assert parse('{"dkim":[]}').dkim is None


@pytest.mark.parametrize(
    "value",
    [
        "{}", "1", "true", '"key"', "[1]", "[null]", "[[]]", "[{}]", '{"domain":"x.test","selector":"s"}',
        '{"domain":"x.test","key":"k"}', '{"selector":"s","key":"k"}', '{"domain":"x.test","selector":"s","key":""}',
        '{"domain":"x.test","selector":"s","key":1}', '{"domain":"x.test","selector":"","key":"k"}',
        '{"domain":"x.test","selector":"a b","key":"k"}', '{"domain":"x.test","selector":"s.","key":"k"}',
        '{"domain":"x.test","selector":"é","key":"k"}', f'{{"domain":"x.test","selector":"{"s" * 64}","key":"k"}}',
        '{"domain":"x test","selector":"s","key":"k"}', '{"domain":5,"selector":"s","key":"k"}',
        '{"domain":null,"selector":"s","key":"k"}', f'{{{KEY},"expire":"soon"}}', f'{{{KEY},"expire":5}}',
        f'{{{KEY},"headers":"to"}}', f'{{{KEY},"headers":[1]}}', f"[{{{KEY}}},{{}}]", f'{{{KEY},"headers":{{}}}}',
        f'{{{KEY},"canonicalization":"none"}}', f'{{{KEY},"canonicalization":1}}', f'{{{KEY},"protocols":"dkim"}}',
        f'{{{KEY},"protocols":["dkmi"]}}', f'{{{KEY},"protocols":[null]}}', f'{{{KEY},"report":"perhaps"}}',
        f'{{{KEY},"priority":1.5}}', f'{{{KEY},"priority":true}}', f'{{{KEY},"priority":"-1"}}',
        f'{{{KEY},"algorithm":"md5"}}', f'{{{KEY},"oversign":[]}}', f'{{{KEY},"identity":7}}',
    ],
)  # fmt: skip
def test_what_is_no_dkim_key_is_refused(value: str) -> None:
    assert refused(f'{{"dkim":{value}}}').property_name == "dkim"


@pytest.mark.parametrize(
    ("value", "dsn"),
    [
        ("{}", DsnOptions()),
        ("[]", DsnOptions()),
        ('{"notify":"never"}', DsnOptions(notify=("NEVER",))),
        ('{"notify":" Success , delay,SUCCESS,"}', DsnOptions(notify=("SUCCESS", "DELAY"))),
        ('{"notify":["failure","Delay,Success"]}', DsnOptions(notify=("FAILURE", "DELAY", "SUCCESS"))),
        ('{"notify":null,"ret":"full"}', DsnOptions(ret="FULL")),
        ('{"ret":"Hdrs"}', DsnOptions(ret="HDRS")),
        ('{"orcpt":"rfc822;a@x.test"}', DsnOptions(orcpt="rfc822;a@x.test")),
        ('{"orcpt":"jürgen@x.test"}', DsnOptions(orcpt="jürgen@x.test")),
        (f'{{"orcpt":"{"o" * 500}"}}', DsnOptions(orcpt="o" * 500)),
        ('{"envid":"order+42 = ~"}', DsnOptions(envid="order+42 = ~")),
        (f'{{"envid":"{"e" * 100}"}}', DsnOptions(envid="e" * 100)),
        ('{"envid":"","orcpt":""}', DsnOptions()),
        ('{"delay-sent":true,"other":1e400}', DsnOptions(delay_sent=True)),
        ('{"delay-sent":1}', DsnOptions()),
    ],
)
def test_forms_of_dsn(value: str, dsn: DsnOptions) -> None:
    assert parse(f'{{"dsn":{value}}}').dsn == dsn


@pytest.mark.parametrize(
    "value",
    [
        '"FAILURE"', "1", "[1]", '{"notify":""}', '{"notify":","}', '{"notify":[]}', '{"notify":"NEVER,DELAY"}',
        '{"notify":"ALWAYS"}', '{"notify":"SUCCESS FAILURE"}', '{"notify":1}', '{"notify":["SUCCESS",1]}',
        '{"notify":{}}', '{"notify":"ſUCCEſſ"}', '{"ret":"BODY"}', '{"ret":""}', '{"ret":1}', '{"ret":["FULL"]}',
        f'{{"orcpt":"{"o" * 501}"}}', r'{"orcpt":"a\r\nb"}', r'{"orcpt":"a\u0085b"}', '{"orcpt":1}', '{"orcpt":[]}',
        f'{{"envid":"{"e" * 101}"}}', '{"envid":"é"}', r'{"envid":"a\tb"}', '{"envid":42}', r'{"envid":"a\u007f"}',
    ],
)  # fmt: skip
def test_what_is_no_dsn_is_refused(value: str) -> None:
    assert refused(f'{{"dsn":{value}}}').property_name == "dsn"


# --- queues -------------------------------------------------------------------------------------------------------

CONFIGURED = ResultQueues(results="R", success="S", failure="F", retry="T")


@pytest.mark.parametrize(
    ("value", "queues", "merged"),
    [
        ("{}", ResultQueues(), CONFIGURED),
        ("[]", ResultQueues(), CONFIGURED),
        (
            '{"failure":"shop-bounces"}',
            ResultQueues(failure="shop-bounces"),
            ResultQueues(results="R", success="S", failure="shop-bounces", retry="T"),
        ),
        (
            '{"results":"a","success":"a","failure":"","retry":null,"other":[1e400]}',
            ResultQueues(results="a", success="a"),
            ResultQueues(results="a", success="a"),
        ),
    ],
)
def test_queues_replaces_or_merges_the_configured_ones(value: str, queues: ResultQueues, merged: ResultQueues) -> None:
    assert parse(f'{{"queues":{value}}}').queues == queues
    assert parse(f'{{"queues":{value}}}', merged_queues=CONFIGURED).queues == merged


def test_the_dsn_queue_is_not_one_of_the_four() -> None:
    message = parse('{"queues":{"dsn":"reports"}}')

    assert message.queues == ResultQueues()
    assert message.dsn_queue == "reports"
    assert parse('{"queues":{"dsn":""}}').dsn_queue is None


@pytest.mark.parametrize(
    "value",
    [
        '"q"',
        "1",
        "true",
        '["q"]',
        '{"results":1}',
        '{"retry":["q"]}',
        '{"dsn":{}}',
        r'{"success":"a\nb"}',
        r'{"failure":"\ud83d"}',
    ],
)
def test_queues_that_are_unusable_fail_before_anything_else_and_are_not_used(value: str) -> None:
    error = refused(f'{{"maxattempts":-1,"queues":{value},"keepmime":true}}')

    assert error.property_name == "queues"
    assert error.queues is None
    assert error.keep_mime


def test_a_failure_carries_the_messages_own_queues() -> None:
    error = refused('{"maxattempts":-1,"recipient":null,"queues":{"failure":"f"}}')

    assert error.property_name == "maxattempts"
    assert error.queues == ResultQueues(failure="f")
    assert not error.keep_mime


def test_a_malformed_keepmime_counts_as_false() -> None:
    assert not refused('{"keepmime":"perhaps"}').keep_mime
    assert not refused('{"keepmime":null,"force":"perhaps"}').keep_mime
    assert refused('{"keepmime":"on","force":"perhaps"}').keep_mime


# --- what the MTA wrote itself ------------------------------------------------------------------------------------


def test_results_are_counted_and_the_latest_address_is_remembered() -> None:
    message = parse('{"results":[{"from":"192.0.2.1"},{"from":"2001:DB8::1"},{"state":"dns"}]}')

    assert message.attempts == 3
    assert message.last_egress_ip == "2001:db8::1"


@pytest.mark.parametrize("value", ['"x"', "{}", "5", "true", "[1]", '[{"state":"dns"},"x"]', "[null]", "[]", "[[]]"])
def test_results_that_cannot_be_continued_count_for_nothing(value: str) -> None:
    message = parse(f'{{"results":{value}}}')

    assert (message.attempts, message.last_egress_ip) == (0, None)


@pytest.mark.parametrize("origin", ["5", "null", '"nowhere"', r'"\udc00"', r'"\ud83d"', "[]", "1e400"])
def test_results_with_odd_members_count_all_the_same(origin: str) -> None:
    message = parse(rf'{{"results":[{{"from":{origin},"code":1e400,"description":"\udc00"}},{{}}]}}')

    assert (message.attempts, message.last_egress_ip) == (2, None)


def test_seen_is_ours_so_a_malformed_one_counts_as_absent() -> None:
    assert parse('{"seen":"2031-05-01 07:30:00"}').seen_at == AT
    for value in ('"yesterday"', "5", "{}", r'"\ud83d"', "1e400"):
        assert parse(f'{{"seen":{value}}}').seen_at is None


def test_no_reason_quotes_a_value() -> None:
    secret = "s3cret"
    for text in (
        f'{{"smarthost":{{"hostname":"h.test","username":"u","password":["{secret}"]}}}}',
        f'{{"smarthost":{{"hostname":"{secret} x"}}}}',
        f'{{"dkim":{{"domain":"{secret} x","selector":"s","key":"k"}}}}',
        f'{{"dkim":{{"domain":"x.test","selector":"s","key":["{secret}"]}}}}',
        f'{{"key":["{secret}"]}}',
        f'{{"force":"{secret}"}}',
        f'{{"delayed":"{secret}"}}',
        rf'{{"recipient":"{secret} {secret}@x.test"}}',
        rf'{{"mime":"{secret}\ud83d"}}',
    ):
        error = refused(text)
        assert secret not in str(error)
        assert str(error).startswith(f"{error.property_name}: ")


@pytest.mark.parametrize(
    ("history", "is_doubtful"),
    [
        ('[{"state":"message","result":"timeout"}]', True),
        ('[{"state":"message","result":"lost"},{"state":"connect","result":"timeout"}]', True),
        ('[{"state":"message","result":"error"}]', False),
        ('[{"state":"data","result":"lost"}]', False),
        ('[{"state":["message"],"result":"lost"}]', False),
        ("[]", False),
    ],
)
def test_an_attempt_that_ended_without_an_answer_to_the_content_leaves_a_doubt(history: str, is_doubtful: bool) -> None:
    assert parse(f'{{"results":{history}}}').is_doubtful is is_doubtful


@pytest.mark.parametrize(
    ("value", "is_doubtful"), [("true", True), ("false", False), ("null", False), ('"true"', False), ("[true]", False)]
)
def test_only_what_we_write_ourselves_is_a_doubt(value: str, is_doubtful: bool) -> None:
    assert parse(f'{{"possible-duplicate":{value}}}').is_doubtful is is_doubtful
