//! Which run of the tour on this store it is.

use orlop::Store;

use super::{FILES, READINGS};
use crate::failure::Failure;

/// Digits of a generation in a key: keys sort by it.
const DIGITS: usize = 6;

/// How the keys of a generation begin.
pub(super) fn prefix(generation: u32) -> String {
    format!("{generation:0DIGITS$}/")
}

/// One more than the last generation in the store.
pub(super) fn next(store: &Store) -> Result<u32, Failure> {
    let mut last = 0;
    for name in [FILES, READINGS] {
        let mut cursor = store.database(name)?.cursor()?;
        cursor.seek_last();
        if let Some((key, _)) = cursor.prev()? {
            last = last.max(of(key).unwrap_or(0));
        }
    }
    Ok(last + 1)
}

/// The generation of a key.
fn of(key: &[u8]) -> Option<u32> {
    std::str::from_utf8(key.get(..DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_knows_its_generation() {
        assert_eq!(of(format!("{}src/main.rs", prefix(12)).as_bytes()), Some(12));
        assert_eq!(of(b"12"), None);
        assert_eq!(of(b"readme/x"), None);
    }
}
