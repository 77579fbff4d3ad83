"""Links to social networks."""

from __future__ import annotations

from typing import Any

import pytest

from relayq.compose.responsive import DocumentError, ResponsiveOptions
from tests.support.documents import inner_of, plan_of, rows_of, text_of

PAGE = "https://shop.example/a?b=c d&e=ü"
SHARED = "https%3A%2F%2Fshop.example%2Fa%3Fb%3Dc%2520d%26e%3D%25C3%25BC"
ICONS = ResponsiveOptions(icons="https://i.test/{type}/{size}/{platform}.png")


def anchor(url: str, name: str, attributes: str = "") -> str:
    return f'<a href="{url.replace("&", "&amp;")}"{attributes} style="text-decoration:underline">{name}</a>'


def share(**properties: Any) -> dict[str, Any]:
    return {"type": "share", "link": PAGE, **properties}


@pytest.mark.parametrize(
    ("properties", "url", "name"),
    [
        ({"platforms": ["facebook"]}, f"https://www.facebook.com/sharer/sharer.php?u={SHARED}", "Facebook"),
        ({"platforms": ["Facebook "], "facebook": {"appid": 42}},
         f"https://www.facebook.com/dialog/share?app_id=42&href={SHARED}&redirect_uri={SHARED}", "Facebook"),
        ({"platforms": ["facebook"], "facebook": {"appid": "4&2", "redirect": "https://x.test/"}},
         f"https://www.facebook.com/dialog/share?app_id=4%262&href={SHARED}&redirect_uri=https%3A%2F%2Fx.test%2F",
         "Facebook"),
        ({"platforms": ["twitter"], "description": "Look & see"},
         f"https://twitter.com/intent/tweet?url={SHARED}&text=Look%20%26%20see", "Twitter"),
        ({"platforms": ["twitter"], "link": {"url": PAGE, "title": "T"}},
         f"https://twitter.com/intent/tweet?url={SHARED}&text=T", "Twitter"),
        ({"platforms": ["twitter"], "twitter": {"hashtags": ["a", "#b c"], "via": "@shop"}},
         f"https://twitter.com/intent/tweet?url={SHARED}&text=Sale&hashtags=a,b%20c&via=shop", "Twitter"),
        ({"platforms": ["twitter"], "twitter": {"hashtags": "a, b"}},
         f"https://twitter.com/intent/tweet?url={SHARED}&text=Sale&hashtags=a,b", "Twitter"),
        ({"platforms": ["linkedin"]}, f"https://www.linkedin.com/sharing/share-offsite/?url={SHARED}", "LinkedIn"),
    ],
)  # fmt: skip
def test_share(properties: dict[str, Any], url: str, name: str) -> None:
    block = share(**properties)
    subject = {"subject": "Sale"}
    assert inner_of(block, mime=subject) == anchor(url, name)
    assert text_of({"content": {"blocks": [block]}, **subject}) == f"{name}: {url}"


def test_share_with_several_platforms() -> None:
    block = share(
        label="Tell & show",
        platforms=["linkedin", "googleplus", "myspace", {"name": "facebook", "attributes": {"id": "f"}}],
        font={"size": 9},
    )
    linkedin = f"https://www.linkedin.com/sharing/share-offsite/?url={SHARED}"
    facebook = f"https://www.facebook.com/sharer/sharer.php?u={SHARED}"
    last = anchor(facebook, "Facebook", ' id="f"')
    assert rows_of(block) == (
        '<tr><td class="re-share" align="left" style="font-size:9px;padding:0 0 10px 0">Tell &amp; show&nbsp; '
        f"{anchor(linkedin, 'LinkedIn')}&nbsp; {last}</td></tr>"
    )
    assert text_of({"content": {"blocks": [block]}}) == f"Tell & show\nLinkedIn: {linkedin}\nFacebook: {facebook}"
    assert plan_of({"content": {"blocks": [block]}}).notes == (
        "mime.content.blocks[0].platforms[1]: platform left out",
        "mime.content.blocks[0].platforms[2]: platform left out",
    )


@pytest.mark.parametrize(
    ("platforms", "links"),
    [
        ({"facebook": "my shop"}, [("https://www.facebook.com/my%20shop", "Facebook")]),
        ({"Twitter": "@shop"}, [("https://twitter.com/shop", "Twitter")]),
        ({"linkedin": {"identifier": "shop"}}, [("https://www.linkedin.com/company/shop", "LinkedIn")]),
        ({"facebook": "https://fb.test/ü", "instagram": "https://i.test/"},
         [("https://fb.test/%C3%BC", "Facebook"), ("https://i.test/", "Instagram")]),
        ({"instagram": "shop", "googleplus": "https://g.test/", "facebook": None, "twitter": "",
          "x": "javascript:y"}, []),
    ],
)  # fmt: skip
def test_follow(platforms: dict[str, object], links: list[tuple[str, str]]) -> None:
    block = {"type": "follow", "platforms": platforms}
    assert inner_of(block) == "&nbsp; ".join(anchor(*link) for link in links)
    lines = "\n".join(f"{name}: {url}" for url, name in links)
    assert text_of({"content": {"blocks": [block]}}) == (lines or None)


def test_icons() -> None:
    block = {
        "type": "follow", "label": "Us", "platforms": {"twitter": {"identifier": "a", "attributes": {"rel": "me"}}},
        "icon": {"type": "Leaf", "size": 16},
    }  # fmt: skip
    assert inner_of(block, options=ICONS) == (
        'Us&nbsp; <a href="https://twitter.com/a" rel="me" style="text-decoration:none">'
        '<img src="https://i.test/leaf/16/twitter.png" alt="Twitter" width="16" height="16" '
        'style="border:0;vertical-align:middle" /></a>'
    )
    odd = {**block, "icon": {"type": "../x", "size": 10**6}, "platforms": {"a/b": "https://x.test/"}}
    assert 'src="https://i.test/rounded/32/a%2Fb.png"' in inner_of(odd, options=ICONS)
    assert 'src="https://i.test/rounded/32/' in inner_of({**block, "icon": None}, options=ICONS)


def test_rules_apply_to_the_links_themselves() -> None:
    rules = {"rewrite": {"links": [{"params": {"u": 1}}]}}
    url = f"https://www.linkedin.com/sharing/share-offsite/?url={SHARED}&u=1"
    assert inner_of(share(platforms=["linkedin"]), mime=rules) == anchor(url, "LinkedIn")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "share", "link": PAGE}, ": platforms needed"),
        ({"type": "share", "platforms": ["twitter"]}, ": link needed"),
        (share(platforms="twitter"), ".platforms: expected an array"),
        (share(platforms=[5]), ".platforms[0].name: expected a string"),
        (share(platforms=["twitter"], twitter=5), ".twitter: expected an object"),
        (share(platforms=["twitter"], twitter={"hashtags": 5}), ".twitter.hashtags: expected a string"),
        ({"type": "follow"}, ": platforms needed"),
        ({"type": "follow", "platforms": ["twitter"]}, ".platforms: expected an object"),
        ({"type": "follow", "platforms": {"twitter": 5}}, ".platforms.twitter.identifier: expected a string"),
    ],
)
def test_errors(block: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        inner_of(block)
    assert str(caught.value) == f"mime.content.blocks[0]{message}"
