use orlop_formats::ids::DatabaseId;

use super::*;

fn table(number: FileNumber, size: u64) -> TableMeta {
    let bound = |key: &[u8]| (DatabaseId(16), key.to_vec());
    TableMeta {
        level: 0,
        run: 0,
        number,
        id: FileId([7; 16]),
        size,
        footer_checksum: 0,
        smallest: bound(b"a"),
        largest: bound(b"b"),
        min_seqno: 0,
        max_seqno: 0,
        entries: 1,
        tombstones: 0,
    }
}

fn loading(tables: &[TableMeta]) -> VersionEdit {
    VersionEdit { loading: tables.to_vec(), ..VersionEdit::default() }
}

fn loaded(numbers: &[FileNumber]) -> VersionEdit {
    VersionEdit { loaded: numbers.to_vec(), ..VersionEdit::default() }
}

#[test]
fn a_table_is_loading_once_or_not_at_all() {
    let mut state = State::default();
    state.apply(loading(&[table(1, 10), table(2, 20)])).unwrap();
    assert_eq!(state.loading_figures(), (2, 30));
    for wrong in [loaded(&[3]), loaded(&[1, 1]), loading(&[table(2, 5)])] {
        let error = state.clone().apply(wrong).unwrap_err();
        assert!(error.contains("table"), "{error}");
    }
    let twice = VersionEdit { added: vec![table(4, 1)], ..loading(&[table(4, 1)]) };
    assert!(state.clone().apply(twice).is_err(), "here and there");
    // The edit that finishes a load.
    let finish = VersionEdit { added: vec![table(1, 10), table(2, 20)], ..loaded(&[2, 1]) };
    state.apply(finish).unwrap();
    assert_eq!((state.loading_figures(), state.tables.len()), ((0, 0), 2));
}

#[test]
fn sizes_that_nobody_has_held_against_a_file_are_only_counted() {
    let mut state = State::default();
    state.apply(loading(&[table(1, u64::MAX), table(2, u64::MAX)])).unwrap();
    assert_eq!(state.loading_figures(), (2, u64::MAX));
}
