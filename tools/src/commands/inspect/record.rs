//! What is printed of a file: records with an offset, as aligned text or as JSON lines.

use std::borrow::Cow;

use orlop_formats::error::DecodeError;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::text;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a key or value that are printed as text; JSON has all of them.
const PREVIEW: usize = 48;

/// A named fact about a record.
pub(super) struct Field<'a> {
    name: &'static str,
    fact: Fact<'a>,
}

enum Fact<'a> {
    Number(u64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Field<'a> {
    pub(super) fn number(name: &'static str, number: u64) -> Self {
        Self { name, fact: Fact::Number(number) }
    }

    pub(super) fn text(name: &'static str, text: impl Into<Cow<'a, str>>) -> Self {
        Self { name, fact: Fact::Text(text.into()) }
    }

    pub(super) fn bytes(name: &'static str, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { name, fact: Fact::Bytes(bytes.into()) }
    }
}

/// Something at an offset. A length of 0: it has no bytes of its own, only those of what it is in.
pub(super) struct Record<'a> {
    offset: u64,
    len: u64,
    depth: usize,
    what: &'static str,
    fields: Vec<Field<'a>>,
}

impl<'a> Record<'a> {
    pub(super) fn new(offset: u64, len: u64, what: &'static str, fields: Vec<Field<'a>>) -> Self {
        Self { offset, len, depth: 0, what, fields }
    }

    /// The same, as a part of the record before it.
    pub(super) fn inside(self, depth: usize) -> Self {
        Self { depth, ..self }
    }
}

/// Where records go.
pub(super) struct Sink {
    out: Output,
    json: bool,
}

impl Sink {
    pub(super) fn new(out: Output, json: bool) -> Self {
        Self { out, json }
    }

    /// The line above the records.
    pub(super) fn title(&mut self, title: String) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        self.out.line(title)?;
        self.out.line(format!("{:>10} {:>9}", "offset", "bytes"))
    }

    pub(super) fn record(&mut self, record: Record<'_>) -> Result<(), Failure> {
        let line = if self.json { as_json(record) } else { as_text(&record) };
        self.out.line(line)
    }

    /// The damage, in the place where reading ended.
    pub(super) fn damage(&mut self, error: &DecodeError) -> Result<(), Failure> {
        if self.json {
            let damage = json!({
                "what": "damage", "offset": error.offset, "in": error.what,
                "expected": error.expected, "got": error.found,
            });
            return self.out.line(damage.to_string());
        }
        self.out.line(format!("{:>10} {:>9}  damage: {error}", error.offset, ""))
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush()
    }
}

fn as_text(record: &Record<'_>) -> String {
    let Record { offset, len, depth, what, fields } = record;
    let what = format!("{:indent$}{what}", "", indent = 2 * depth);
    let len = if *len == 0 { String::new() } else { len.to_string() };
    let mut line = format!("{offset:>10} {len:>9}  {what:<18}");
    for (at, Field { name, fact }) in fields.iter().enumerate() {
        line += if at == 0 { " " } else { ", " };
        line += name;
        line += " ";
        match fact {
            Fact::Number(number) => line += &number.to_string(),
            Fact::Text(text) => line += text,
            Fact::Bytes(bytes) => line += &preview(bytes),
        }
    }
    line
}

/// Bytes in quotes, long ones cut and counted.
fn preview(bytes: &[u8]) -> String {
    match bytes.get(..PREVIEW) {
        Some(start) if bytes.len() > PREVIEW => {
            format!("\"{}\"... ({} bytes)", text::escape(start), bytes.len())
        }
        _ => format!("\"{}\"", text::escape(bytes)),
    }
}

fn as_json(record: Record<'_>) -> String {
    let mut object = Map::new();
    object.insert("what".to_owned(), json!(record.what));
    object.insert("offset".to_owned(), json!(record.offset));
    if record.len > 0 {
        object.insert("len".to_owned(), json!(record.len));
    }
    for Field { name, fact } in record.fields {
        let (name, value) = match fact {
            Fact::Number(number) => (name.to_owned(), json!(number)),
            Fact::Text(text) => (name.to_owned(), json!(text)),
            Fact::Bytes(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => (name.to_owned(), json!(text)),
                Err(_) => (format!("{name}_b64"), json!(STANDARD.encode(&bytes))),
            },
        };
        object.insert(name.replace(' ', "_"), value);
    }
    Value::Object(object).to_string()
}
