//! The texts of bodies and of models' answers, as searches compare them. A stream has an answer in pieces, and the event has it whole.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::Value;

use crate::search::fold;
use crate::store::chunks::Unpacker;
use crate::store::packed::unpack;
use crate::store::sql::is_corruption;

/// Reads texts of one connection.
pub(super) struct Texts {
    unpacker: Unpacker,
}

/// The members of an event that hold bodies, and the answer of a model.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    request_body: Value,
    response_body: Value,
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    llm: Answer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    text: Value,
}

impl Texts {
    /// # Errors
    /// When memory is short.
    pub(super) fn new() -> rusqlite::Result<Self> {
        Ok(Self { unpacker: Unpacker::new()? })
    }

    /// Calls `see` with each chunk of a range and its folded text, in order. `None`: it is damaged.
    pub(super) fn each(
        &mut self,
        connection: &Connection,
        (from, to): (i64, i64),
        limit: i64,
        mut see: impl FnMut(i64, Option<Vec<u8>>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let (mut next, mut left) = (from, limit);
        let read = self.rows(connection, (from, to), limit, |chunk, text| {
            (next, left) = (chunk.saturating_add(1), left - 1);
            see(chunk, text)
        });
        match read {
            Err(error) if is_corruption(&error) => {
                // A row that cannot even be reached is a damaged chunk. The next ones may be whole.
                let mut query = connection.prepare_cached(
                    "SELECT chunk FROM chunk_refs WHERE chunk BETWEEN ?1 AND ?2 ORDER BY chunk LIMIT ?3",
                )?;
                let chunks = query.query_map(params![next, to, left], |row| row.get(0))?;
                for chunk in chunks {
                    let chunk = chunk?;
                    let text = self.chunk(connection, chunk)?;
                    see(chunk, text)?;
                }
                Ok(())
            }
            done => done,
        }
    }

    fn rows(
        &mut self,
        connection: &Connection,
        (from, to): (i64, i64),
        limit: i64,
        mut see: impl FnMut(i64, Option<Vec<u8>>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut query = connection.prepare_cached(
            "SELECT id, bytes, crc, data FROM chunks WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
        )?;
        let mut rows = query.query(params![from, to, limit])?;
        while let Some(row) = rows.next()? {
            let text = self.unpacker.unpack(row.get(1)?, row.get(2)?, row.get_ref(3)?.as_blob()?);
            see(row.get(0)?, text.and_then(|text| String::from_utf8(text).ok()).map(|text| fold(&text)))?;
        }
        Ok(())
    }

    /// The folded text of a chunk. `None`: it is damaged or gone.
    pub(super) fn chunk(&mut self, connection: &Connection, chunk: i64) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut found = None;
        let read = self.rows(connection, (chunk, chunk), 1, |_, text| {
            found = text;
            Ok(())
        });
        match read {
            Err(error) if !is_corruption(&error) => return Err(error),
            _ => {}
        }
        Ok(found)
    }
}

/// The folded texts in an event's column `json`: bodies that stand there, and a model's answer.
pub(super) fn inside(json: &[u8]) -> Vec<Vec<u8>> {
    let read = unpack(json).and_then(|json| serde_json::from_slice::<Members>(&json).ok()).unwrap_or_default();
    [read.request_body, read.response_body, read.metadata.llm.text]
        .iter()
        .filter_map(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(fold)
        .collect()
}

/// The same and perhaps more, for signatures: an event need not be parsed to find them, because each name of a member stands in its
/// compact JSON as it is.
pub(super) fn perhaps_inside(json: &[u8]) -> Vec<Vec<u8>> {
    static MEMBERS: LazyLock<[Finder<'static>; 3]> =
        LazyLock::new(|| ["\"request_body\":\"", "\"response_body\":\"", "\"text\":\""].map(Finder::new));
    let Some(json) = unpack(json) else { return Vec::new() };
    let begins = MEMBERS.iter().flat_map(|member| member.find_iter(&json).map(|at| at + member.needle().len() - 1));
    let texts = begins.filter_map(|at| {
        let text = serde_json::Deserializer::from_slice(json.get(at..)?).into_iter::<String>().next()?;
        text.ok().filter(|text| !text.is_empty())
    });
    texts.map(|text| fold(&text)).collect()
}

/// The column `json` of an event of a call to a model. Empty: it is of another call, damaged or gone.
pub(super) fn model_event(connection: &Connection, event: i64) -> rusqlite::Result<Vec<u8>> {
    let mut query = connection.prepare_cached("SELECT json FROM events WHERE id = ?1 AND llm <> ''")?;
    match query.query_row([event], |row| row.get(0)).optional() {
        Err(error) if is_corruption(&error) => Ok(Vec::new()),
        read => Ok(read?.unwrap_or_default()),
    }
}

/// Where the bodies of an event are.
pub(super) enum Place {
    /// In chunks: its column `parts`.
    Apart(Vec<u8>),
    /// In its column `json`.
    Inside(Vec<u8>),
}

/// Where the bodies of an event are. `None`: the event is gone or damaged.
pub(super) fn place(connection: &Connection, event: i64) -> rusqlite::Result<Option<Place>> {
    let read = connection
        .prepare_cached("SELECT parts, CASE WHEN parts IS NULL THEN json ELSE x'' END FROM events WHERE id = ?1")?
        .query_row([event], |row| {
            let parts: Option<Vec<u8>> = row.get(0)?;
            parts.map_or_else(|| row.get(1).map(Place::Inside), |parts| Ok(Place::Apart(parts)))
        })
        .optional();
    match read {
        Err(error) if is_corruption(&error) => Ok(None),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn no_text_of_an_event_is_without_a_signature(texts in prop::array::uniform4(".*"), nested: bool) {
            let [asked, answered, said, other] = &texts;
            let mut event = json!({
                "path": other,
                "request_headers": json!({ "request_body": other, "text": asked }).to_string(),
                "custom_properties": { "text": other, "request_body": other },
                "request_body": asked,
                "response_body": answered,
                "metadata": { "llm": { "text": said } },
            });
            if nested {
                event["request_body"] = event.to_string().into();
            }
            let json = event.to_string().into_bytes();
            let perhaps = perhaps_inside(&json);
            for text in inside(&json) {
                prop_assert!(perhaps.contains(&text));
            }
        }
    }
}
