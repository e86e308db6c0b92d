//! The entries of system database 0, wherever they lie: they decode, and ids are unique.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use orlop_formats::catalog::{CatalogKey, CatalogRecord};
use orlop_formats::ids::{DatabaseId, FIRST_USER_DATABASE, Kind, SYSTEM_DATABASE, Seqno};

use super::report::Report;

/// Where an entry lies.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) path: &'a Path,
    pub(super) offset: u64,
}

/// An entry of the system database.
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) seqno: Seqno,
    pub(super) kind: Kind,
    pub(super) value: &'a [u8],
}

/// Entries that this version knows, beside range deletes in the log.
pub(super) const KNOWN: &str = "puts, and deletes and changes of the catalog without an expiry";

/// Whether an entry is one of these.
pub(super) fn may_be(database: DatabaseId, kind: Kind, expiry: Option<u64>) -> bool {
    match kind {
        Kind::Put => expiry.is_none() || database != SYSTEM_DATABASE,
        Kind::Delete => expiry.is_none(),
        Kind::PutBlob | Kind::RangeDelete | Kind::Merge => false,
    }
}

/// The newest version of one key.
struct Newest {
    seqno: Seqno,
    /// `None`: deleted.
    id: Option<DatabaseId>,
    name: String,
    path: PathBuf,
    offset: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Catalog {
    newest: BTreeMap<Vec<u8>, Newest>,
}

impl Catalog {
    /// Takes in one version of one key. Of two with one seqno, in one batch, the later one counts.
    pub(super) fn entry(&mut self, report: &mut Report, origin: Origin<'_>, entry: &Entry<'_>) {
        let Origin { path, offset } = origin;
        let name = match CatalogKey::decode(entry.key) {
            Ok(key) => key.name,
            Err(error) => {
                report.finding(path, offset, error.what, error.expected, error.found);
                return;
            }
        };
        let id = match entry.kind {
            Kind::Put => match CatalogRecord::decode(entry.value) {
                Ok(record) => Some(record.id),
                Err(error) => {
                    report.finding(path, offset, error.what, error.expected, error.found);
                    return;
                }
            },
            Kind::Delete => None,
            other => {
                report.finding(
                    path,
                    offset,
                    "catalog entry",
                    "Put or Delete",
                    format!("{other:?}"),
                );
                return;
            }
        };
        let older = self.newest.get(entry.key).is_some_and(|newest| newest.seqno > entry.seqno);
        if !older {
            let newest = Newest { seqno: entry.seqno, id, name, path: path.to_owned(), offset };
            self.newest.insert(entry.key.to_owned(), newest);
        }
    }

    /// Checks the catalog as it is now. `flushed` and `next_id` are those of the manifest: what
    /// was created later may have a greater id.
    pub(super) fn finish(self, report: &mut Report, manifest: Option<(Seqno, u32)>) {
        let mut owners: HashMap<DatabaseId, String> = HashMap::new();
        for newest in self.newest.into_values() {
            let Newest { seqno, id: Some(id), name, path, offset } = newest else { continue };
            if id.0 < FIRST_USER_DATABASE {
                let expected = format!("an id of {FIRST_USER_DATABASE} or more for {name:?}");
                report.finding(&path, offset, "catalog record", expected, id.to_string());
            }
            if let Some((flushed, next_id)) = manifest
                && seqno <= flushed
                && id.0 >= next_id
            {
                let expected = format!("an id below {next_id} for {name:?}");
                report.finding(&path, offset, "catalog record", expected, id.to_string());
            }
            if let Some(other) = owners.insert(id, name.clone()) {
                let found = format!("{id} for {other:?} and {name:?}");
                report.finding(&path, offset, "catalog record", "an id of its own", found);
            }
        }
    }
}
