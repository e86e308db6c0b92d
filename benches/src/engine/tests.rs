//! Every engine that is compiled in does what the seam says.

use super::*;
use crate::shape::{KeyShape, Values};

const SHAPE: Shape = Shape { key_shape: KeyShape::Decimal, key_size: 16, value_size: 100 };

fn settings(kind: &Kind, table: Table, class: Class) -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        dir: dir.path().join(kind.name),
        class,
        table,
        cache: 32 << 20,
        shape: SHAPE,
        spaces: 2,
        sessions: 4,
        cold: false,
    };
    std::fs::create_dir(&settings.dir).unwrap();
    (dir, settings)
}

/// Runs `check` on every engine that has answers, in every table and class that it has.
fn on_all(check: impl Fn(&Kind, &Settings)) {
    for kind in KINDS.iter().filter(|kind| kind.open.is_some() && kind.answers) {
        let compressed = kind.compression.map(|_| Table::Compressed);
        for table in [Some(Table::Uncompressed), compressed].into_iter().flatten() {
            for class in kind.classes {
                let (_dir, settings) = settings(kind, table, *class);
                check(kind, &settings);
            }
        }
        let (_dir, settings) = settings(kind, Table::Shipped, kind.shipped_class);
        check(kind, &settings);
    }
}

fn sum(values: &Values, numbers: impl Iterator<Item = u64>) -> Found {
    let mut found = Found::default();
    numbers.for_each(|number| found.add(values.of(number)));
    found
}

#[test]
fn what_is_written_is_read_and_stays() {
    let values = Values::new(SHAPE.value_size);
    on_all(|kind, settings| {
        let context = format!("{} {} {}", kind.name, settings.table, settings.class);
        let engine = kind.open(settings).expect(&context);
        {
            let mut session = engine.session(Reads::Current).unwrap();
            for number in (0..60).rev() {
                session.put(&SHAPE.key(number), values.of(number)).expect(&context);
            }
            let keys: Vec<_> = (60..100).map(|number| SHAPE.key(number)).collect();
            let batch: Vec<_> =
                (60..100).zip(&keys).map(|(number, key)| (&key[..], values.of(number))).collect();
            session.put_batch(&batch).expect(&context);
            session.delete(&SHAPE.key(3)).unwrap();
            session.delete(&SHAPE.key(1000)).unwrap();
            // Reads are current, in whatever order they come between writes.
            assert_eq!(session.get(&SHAPE.key(3)).unwrap(), None, "{context}");
            session.put(&SHAPE.key(3), values.of(3)).unwrap();
            check_reads(&mut *session, &values, &context);
            session.select(1).unwrap();
            assert_eq!(session.get(&SHAPE.key(3)).unwrap(), None, "{context}");
            assert_eq!(session.scan(None, Direction::Forward, 9).unwrap().entries, 0);
            session.put(&SHAPE.key(7), values.of(8)).unwrap();
            assert_eq!(session.get(&SHAPE.key(7)).unwrap(), Some(touch(values.of(8))));
            session.select(0).unwrap();
            assert_eq!(session.get(&SHAPE.key(7)).unwrap(), Some(touch(values.of(7))));
        }
        engine.settle().expect(&context);
        check_reads(&mut *engine.session(Reads::Fixed).unwrap(), &values, &context);
        engine.close().expect(&context);
        let engine = kind.open(&Settings { cold: true, ..settings.clone() }).expect(&context);
        check_reads(&mut *engine.session(Reads::Fixed).unwrap(), &values, &context);
        engine.close().expect(&context);
    });
}

/// Entries 0 to 99 are there, nothing else.
fn check_reads(session: &mut dyn Session, values: &Values, context: &str) {
    for number in [0, 3, 59, 60, 99] {
        let expected = Some(touch(values.of(number)));
        assert_eq!(session.get(&SHAPE.key(number)).unwrap(), expected, "{context}");
        assert_eq!(session.get_in_place(&SHAPE.key(number)).unwrap(), expected, "{context}");
    }
    let mut missing = SHAPE.key(5);
    missing.push(b'x');
    assert_eq!(session.get(&missing).unwrap(), None, "{context}");
    let keys: Vec<_> = [5, 80, 1000, 2].into_iter().map(|number| SHAPE.key(number)).collect();
    let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    let expected = sum(values, [5, 80, 2].into_iter());
    assert_eq!(session.multi_get(&keys).unwrap(), expected, "{context}");
    let mut scan = |from: Option<&[u8]>, direction, limit| {
        session.scan(from, direction, limit).expect(context)
    };
    let (forward, backward) = (Direction::Forward, Direction::Backward);
    assert_eq!(scan(None, forward, u64::MAX), sum(values, 0..100), "{context}");
    assert_eq!(scan(None, backward, u64::MAX), sum(values, 0..100), "{context}");
    assert_eq!(scan(None, forward, 7), sum(values, 0..7), "{context}");
    assert_eq!(scan(None, backward, 7), sum(values, 93..100), "{context}");
    assert_eq!(scan(Some(&SHAPE.key(40)), forward, 10), sum(values, 40..50), "{context}");
    assert_eq!(scan(Some(&SHAPE.key(40)), backward, 10), sum(values, 31..41), "{context}");
    assert_eq!(scan(Some(&SHAPE.key(95)), forward, 10), sum(values, 95..100), "{context}");
    assert_eq!(scan(Some(&missing), forward, 1), sum(values, 6..7), "{context}");
    assert_eq!(scan(Some(&missing), backward, 1), sum(values, 5..6), "{context}");
    assert_eq!(scan(Some(&SHAPE.key(2000)), forward, 1), Found::default(), "{context}");
}

#[test]
fn a_bulk_load_is_all_there() {
    let values = Values::new(SHAPE.value_size);
    on_all(|kind, settings| {
        let context = format!("{} {} {}", kind.name, settings.table, settings.class);
        let engine = kind.open(settings).expect(&context);
        let keys: Vec<_> = (0..5000).map(|number| SHAPE.key(number)).collect();
        let mut entries =
            keys.iter().zip(0..).map(|(key, number)| (key.as_slice(), values.of(number)));
        engine.bulk_load(&mut entries).expect(&context);
        let check = |engine: &dyn Engine| {
            let mut session = engine.session(Reads::Fixed).unwrap();
            let found = session.scan(None, Direction::Forward, u64::MAX).unwrap();
            assert_eq!(found, sum(&values, 0..5000), "{context}");
        };
        check(&*engine);
        engine.close().expect(&context);
        let engine = kind.open(settings).expect(&context);
        check(&*engine);
        engine.close().expect(&context);
    });
}

#[test]
fn writes_of_two_classes_stand_beside_each_other_or_are_refused() {
    let values = Values::new(SHAPE.value_size);
    on_all(|kind, settings| {
        if settings.table == Table::Shipped {
            return;
        }
        let engine = kind.open(settings).unwrap();
        {
            let mut session = engine.session(Reads::Current).unwrap();
            for class in [Class::Synced, Class::Buffered] {
                match session.put_as(class, &SHAPE.key(1), values.of(1)) {
                    Ok(()) => assert!(session.get(&SHAPE.key(1)).unwrap().is_some()),
                    Err(Failure::Unsupported(why)) => assert!(!why.is_empty()),
                    Err(failure) => panic!("{}: {failure}", kind.name),
                }
            }
        }
        engine.close().unwrap();
    });
}

#[test]
fn an_engine_that_is_not_compiled_in_says_how() {
    for kind in KINDS.iter().filter(|kind| kind.open.is_none()) {
        let text = kind.not_compiled_in().to_string();
        assert!(text.contains(&format!("--features {}", kind.name)), "{text}");
    }
    let text = find("leveldb").unwrap_err().to_string();
    assert!(text.contains("leveldb") && text.contains("rocksdb"), "{text}");
}

#[test]
fn every_engine_has_a_version() {
    for kind in KINDS {
        assert!(!kind.version().is_empty(), "{}", kind.name);
    }
}
