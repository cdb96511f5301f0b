//! Secrets in binary data, behind escapes, and in base64.

use super::*;

#[test]
fn known_formats_are_blotted_out_of_bytes_in_their_place() {
    let mut bytes = b"\x0a\xff\x00\x18sk-ant-c4n4ry0123456789abcdefWXYZ\x12\x00".to_vec();
    let shown = masking().bytes(&bytes, false).unwrap();
    assert_eq!(shown.len(), bytes.len());
    bytes[4..4 + 33].fill(b'*');
    assert_eq!(shown, bytes);
    assert_eq!(masking().bytes(b"\xff\xd8\xff\xe0 JFIF", false), None);
    // Behind its length, which is the code of a letter, and before what looks like more of it.
    let long = format!("sk-ant-c4n4ry{}", "0".repeat(95));
    let message = [&[0x0a, 108], long.as_bytes(), b"2\x01x"].concat();
    let shown = masking().bytes(&message, false).unwrap();
    assert_eq!((&shown[..2], &shown[2..110], &shown[111..]), (&message[..2], &[b'*'; 108][..], &b"\x01x"[..]));
    assert_eq!(masking().bytes(b"\xffxsk-ant-c4n4ry0123456789", false), None, "a word that ends like its beginning");
    own::register("our-own-s3cret-in-bytes");
    for (bytes, shown) in [
        (&b"\xff\x0bhttps://u:c4n4ry@x.test/\xff"[..], &b"\xff\x0bhttps://********@x.test/\xff"[..]),
        (b"\xff://a:\x01b@", b""),
        (b"\xff\x07our-own-s3cret-in-bytes\x00", b"\xff\x07***********************\x00"),
    ] {
        assert_eq!(masking().bytes(bytes, false).unwrap_or_default(), shown);
    }
}

#[test]
fn a_name_and_a_password_in_base64_are_found_after_their_scheme_and_under_their_name() {
    for text in [
        r#"{"auths":{"registry.test":{"auth":"YzRuNHJ5OnB3"}}}"#,
        "//registry.test/:_auth=YzRuNHJ5OnB3\n",
        "_auth = \"YzRuNHJ5OnB3\"",
        "curl -H 'Authorization: Basic YzRuNHJ5OnB3'",
        r#"{"headers":["x: basic YzRuNHJ5OnB3"]}"#,
    ] {
        let shown = masked(text);
        assert!(clean(&shown), "{shown}");
    }
    assert_eq!(
        masked(r#"{"auth":"enabled","token":"dXNlcm5hbWU="}"#),
        r#"{"auth":"enabled","token":"dXNlcm5hbWU="}"#
    );
}

#[test]
fn a_password_in_a_url_behind_escapes_is_found_in_any_text() {
    for (text, shown) in [
        ("/r?url=https%3A%2F%2Fu%3Ac4n4ry%40h%2F", "/r?url=https%3A%2F%2F****%40h%2F"),
        ("see https%3a//u%3ac4n4ry%40h/ there", "see https%3a//****%40h/ there"),
        (
            r#"{"next":"?u=ftp%253A%252F%252Fu%253Ac4n4ry%2540h%252F"}"#,
            r#"{"next":"?u=ftp%253A%252F%252F****%2540h%252F"}"#,
        ),
        ("u=https%3A%2F%2Fh%3A80%2Fa&mail=a%40b", "u=https%3A%2F%2Fh%3A80%2Fa&mail=a%40b"),
    ] {
        assert_eq!(untagged(&masked(text)), shown);
    }
}

#[test]
fn a_field_of_a_multipart_form_is_found_in_any_text() {
    let form = |name: &str, fields: &str, end: &str| {
        format!("--b{end}Content-Disposition: form-data; name={name}{end}{fields}{end}c4n4ry{end}--b--")
    };
    for name in ["\"password\"", "password", "\"user[password]\"", "\"db_password\""] {
        for end in ["\r\n", "\n"] {
            let fields = format!("Content-Type: text/plain{end}");
            for text in [form(name, "", end), form(name, &fields, end)] {
                assert_eq!(untagged(&masked(&text)), text.replace("c4n4ry", "****"));
                for json in [json!({ "data": text }), json!({ "data": json!([text]).to_string() })] {
                    let json = json.to_string();
                    assert_eq!(untagged(&masked(&json)), json.replace("c4n4ry", "****"));
                }
            }
        }
    }
    let data = |value: &str| json!({ "data": form("password", "", "\r\n").replace("c4n4ry", value) }).to_string();
    assert_eq!(untagged(&masked(&data("c4\\n4ry\"x"))), data("****"));
    let text = form("\"password\"", "", "\r\n").replace("c4n4ry", "c4n\"4ry");
    assert_eq!(untagged(&masked(&text)), text.replace("c4n\"4ry", "****"));
    for other in [form("\"note\"", "", "\r\n"), "name=\"password\"\n\n[section]\n".to_owned()] {
        assert_eq!(masked(&other), other);
    }
}

#[test]
fn a_secret_is_found_behind_escapes_in_paths_and_urls_and_under_no_name_in_queries() {
    for (path, shown) in [
        ("/v1/sk%2Dant%2Dc4n4ry0123456789abcdefWXYZ/x", "/v1/****WXYZ/x"),
        ("/bot123456789%3AAAc4n4ry0123456789abcdefghijklmnopqrs/send", "/bot****pqrs/send"),
        ("/fetch/https%3A%2F%2Fu%3Ac4n4ry%40x.test%2F/y%20z", "/fetch/https%3A%2F%2F****%40x.test%2F/y%20z"),
        ("/a%20b/%zz/caf%C3%A9/100%25", "/a%20b/%zz/caf%C3%A9/100%25"),
    ] {
        let masked = masking().path(path).unwrap_or_else(|| path.to_owned());
        assert_eq!(untagged(&masked.replace("%23", "#")), shown);
    }
    for name in ["location", "referer", "x-anything"] {
        let shown = masking().header(name, "/x/sk%2Dant%2Dc4n4ry0123456789abcdefWXYZ").unwrap();
        assert!(clean(&shown), "{shown}");
    }
    let canary = "sk-ant-c4n4ry0123456789abcdefWXYZ";
    for (query, shown) in [
        (canary.to_owned(), "****WXYZ"),
        (format!("a=1&{canary}"), "a=1&****WXYZ"),
        (format!("{canary}=x&b"), "****WXYZ=x&b"),
        (format!("{canary}&{canary}=1"), "****WXYZ&****WXYZ=1"),
    ] {
        assert_eq!(untagged(&masking().query(&query).unwrap()), shown);
    }
    assert!(masking().query("a_long_name_without_a_value&max_tokens_of_it").is_none());
}

#[test]
fn a_text_with_a_byte_that_is_no_text_is_searched_like_any_other() {
    let with_byte = |text: &str| [text.as_bytes(), b"\xE9"].concat();
    for (text, secret) in [
        (r#"{"password":"hunter2-falcon","city":"Orl"#, "hunter2-falcon"),
        ("<login><password>hunter2-falcon</password><city>Orl", "hunter2-falcon"),
        ("{\"a\":1}\n{\"api_key\":\"0123456789abcdef0123\"}\nOrl", "0123456789abcdef0123"),
    ] {
        let bytes = with_byte(text);
        let masked = masking().bytes(&bytes, false).unwrap();
        assert_eq!(masked.len(), bytes.len());
        let at = text.find(secret).unwrap();
        assert!(masked[at..at + secret.len()].iter().all(|byte| *byte == b'*'), "{text}");
        assert_eq!((&masked[..at], masked.last()), (&bytes[..at], Some(&0xE9)));
    }
    assert_eq!(masking().bytes(&with_byte("{\"city\":\"Orl"), false), None);
}
