//! NDJSON: one object a line, `{"key":…,"value":…}`; what is not UTF-8 stands in base64 under
//! `key_b64` and `value_b64`. What expires has `expires_at_ms`, too: a number, milliseconds since 1970.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{Entry, Written};

/// Reads a line, its LF stripped.
pub(super) fn parse(line: &[u8]) -> Result<Entry<'_>, String> {
    // UTF-8 is checked here: the reader of JSON would not say where.
    let line = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
    let mut reader = serde_json::Deserializer::from_str(line);
    let entry = reader.deserialize_map(EntryVisitor).and_then(|entry| {
        reader.end()?;
        Ok(entry)
    });
    entry.map_err(|error| {
        let text = error.to_string();
        // Every line is line 1 to the reader of JSON; the caller knows which one it is.
        match text.rsplit_once(" at line ") {
            Some((what, _)) if error.column() > 0 => format!("{what} at column {}", error.column()),
            Some((what, _)) => what.to_owned(),
            None => text,
        }
    })
}

const EXPIRY: &str = "expires_at_ms";

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with key and value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry<'de>, A::Error> {
        let (mut key, mut value, mut expiry) = (None, None, None);
        while let Some(field) = map.next_key::<Text<'de>>()? {
            if &*field.0 == EXPIRY {
                let time = map.next_value::<u64>()?;
                if time == 0 || expiry.replace(time).is_some() {
                    let what = format!("{EXPIRY} is to be given once, and not 0");
                    return Err(A::Error::custom(what));
                }
                continue;
            }
            if !["key", "value", "key_b64", "value_b64"].contains(&&*field.0) {
                return Err(A::Error::custom(format!("unknown field {:?}", field.0)));
            }
            let text = map.next_value::<Text<'de>>()?.0;
            let (slot, bytes) = match &*field.0 {
                "key" => (&mut key, into_bytes(text)),
                "value" => (&mut value, into_bytes(text)),
                "key_b64" => (&mut key, from_base64::<A::Error>(&text, "key_b64")?),
                _ => (&mut value, from_base64::<A::Error>(&text, "value_b64")?),
            };
            if slot.replace(bytes).is_some() {
                let what = if field.0.starts_with("key") { "key" } else { "value" };
                return Err(A::Error::custom(format!("the {what} is given twice")));
            }
        }
        match (key, value) {
            (Some(key), Some(value)) => Ok(Entry { key, value, expiry }),
            (None, _) => Err(A::Error::custom("no field key or key_b64")),
            (_, None) => Err(A::Error::custom("no field value or value_b64")),
        }
    }
}

/// A string, borrowed from the line when nothing in it was escaped.
struct Text<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn from_base64<E: Error>(text: &str, field: &str) -> Result<Cow<'static, [u8]>, E> {
    let bytes = STANDARD.decode(text);
    bytes.map(Cow::Owned).map_err(|error| E::custom(format!("{field} is not base64: {error}")))
}

/// Writes an entry as a line; without a value, only its key.
pub(super) fn write(out: &mut impl Write, entry: &Written<'_>) -> io::Result<()> {
    out.write_all(b"{")?;
    write_field(out, "key", entry.key)?;
    if let Some(value) = entry.value {
        out.write_all(b",")?;
        write_field(out, "value", value)?;
        if let Some(expiry) = entry.expiry {
            write!(out, ",\"{EXPIRY}\":{expiry}")?;
        }
    }
    out.write_all(b"}\n")
}

fn write_field(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            write!(out, "\"{name}\":")?;
            serde_json::to_writer(out, text).map_err(io::Error::from)
        }
        Err(_) => {
            write!(out, "\"{name}_b64\":\"")?;
            let mut encoder = base64::write::EncoderWriter::new(&mut *out, &STANDARD);
            encoder.write_all(bytes)?;
            encoder.finish()?;
            drop(encoder);
            out.write_all(b"\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
        parse(line.as_bytes()).map(|entry| (entry.key.into_owned(), entry.value.into_owned()))
    }

    fn written(key: &[u8], value: &[u8]) -> String {
        let mut out = Vec::new();
        let expiry = (key == b"late").then_some(9);
        write(&mut out, &Written { key, value: Some(value), expiry }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_strings_and_base64() {
        assert_eq!(written(b"k\n\"", "ä".as_bytes()), "{\"key\":\"k\\n\\\"\",\"value\":\"ä\"}\n");
        assert_eq!(written(b"\xff", b"v"), "{\"key_b64\":\"/w==\",\"value\":\"v\"}\n");
        assert_eq!(written(b"", b"\xfe"), "{\"key\":\"\",\"value_b64\":\"/g==\"}\n");
        let late = "{\"key\":\"late\",\"value\":\"v\",\"expires_at_ms\":9}\n";
        assert_eq!(written(b"late", b"v"), late);
    }

    #[test]
    fn reads_both_forms_in_any_order() {
        let entry = Ok((b"k".to_vec(), b"v".to_vec()));
        assert_eq!(read(r#"{"key":"k","value":"v"}"#), entry);
        assert_eq!(read("  { \"value\" : \"v\" , \"key_b64\" : \"aw==\" } \r"), entry);
        assert_eq!(read(r#"{"key":"\u006b","value_b64":"dg=="}"#), entry);
    }

    #[test]
    fn refuses_bad_lines() {
        for (line, reason) in [
            ("", "EOF"),
            ("[]", "expected an object"),
            ("{}", "no field key"),
            (r#"{"key":"k"}"#, "no field value"),
            (r#"{"key":"k","value":"v","ttl":"1"}"#, "unknown field \"ttl\""),
            (r#"{"key":"k","value":"v","ttl":1}"#, "unknown field \"ttl\""),
            (r#"{"key":"k","value":"v","expires_at_ms":0}"#, "not 0"),
            (r#"{"key":"k","value":"v","expires_at_ms":1,"expires_at_ms":1}"#, "given once"),
            (r#"{"key":"k","value":"v","expires_at_ms":"1"}"#, "expected u64"),
            (r#"{"key":"k","key_b64":"aw==","value":"v"}"#, "the key is given twice"),
            (r#"{"key":"k","value":"v","value":"w"}"#, "the value is given twice"),
            (r#"{"key":1,"value":"v"}"#, "expected a string"),
            (r#"{"key":null,"value":"v"}"#, "expected a string"),
            (r#"{"key_b64":"a","value":"v"}"#, "key_b64 is not base64"),
            (r#"{"key":"k","value":"v"} x"#, "trailing characters at column"),
            (r#"{"key":"\ud800","value":"v"}"#, "at column"),
            (r#"{"key":"k","value":"v""#, "EOF"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(reason), "{line:?}: {error}");
        }
        assert!(parse(b"{\"key\":\"\xff\",\"value\":\"v\"}").unwrap_err().contains("byte 8"));
    }
}
