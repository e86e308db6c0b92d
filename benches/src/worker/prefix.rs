//! Long keys of which thousands share most of their bytes, as those of one tenant or table do: what
//! tells two of them apart comes late.

use super::bench::{Bench, Facts, load, puts};
use super::entries::{Keys, shuffled};
use super::read;
use crate::engine::Reads;
use crate::failure::Result;
use crate::options::Options;
use crate::shape::{KeyShape, Shape};

/// Bytes of a key: 48 that are shared, and a number.
const KEY_SIZE: usize = 64;

/// The run's options, with these keys.
pub(super) fn options(options: &Options) -> Options {
    let shape = Shape { key_shape: KeyShape::Tenants, key_size: KEY_SIZE, ..options.shape };
    Options { shape, entries: options.operations(), ..options.clone() }
}

/// `fillprefix`, `readprefix` and `seekprefix10`.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let options = bench.options;
    let engine = bench.open()?;
    let numbers = shuffled(&mut bench.random("fillprefix"), options.entries);
    let keys = Keys::new(&options.shape, numbers);
    let measured = bench.measure(&*engine, Reads::Current, 1, |_, session| {
        puts(session, &keys, &bench.values, options.fill_window())
    })?;
    let done = measured.operations(0);
    let user_bytes = done as u64 * options.shape.entry_size();
    bench.keep("fillprefix", Ok((measured, Facts { user_bytes, ..Facts::default() })))?;
    // All engines are read with the same entries, however far they came.
    load(&*engine, &keys, done, &bench.values)?;
    engine.settle()?;
    read::run_prefix(bench, &*engine)?;
    engine.close()
}
