//! Fuzz targets: one function for each decoder, which takes any bytes.
//!
//! Each holds three promises of `orlop-formats`: any bytes give a value or an error, never a panic;
//! what was decoded is written to bytes that decode to the same; and where a value has one spelling
//! only, to the same bytes. Random bytes never have a right checksum, so a target tries its input
//! twice: as it is, and with the checksums made right.
//!
//! `cargo fuzz run NAME` (see docs/testing.md) looks for inputs; the test `corpus` replays those
//! that were kept, on any toolchain. A target panics when a promise is broken, and says whether its
//! input was taken for a value at all: a corpus in which none is proves nothing.

pub mod framed;
pub mod seeds;
pub mod single;
pub mod sorted;
pub mod store;

/// A target: takes any bytes; tells whether they held a value.
pub type Target = fn(&[u8]) -> bool;

/// Every target, by name.
pub const TARGETS: [(&str, Target); 19] = [
    ("varint", single::varint),
    ("filename", single::filename),
    ("file_header", single::file_header),
    ("superblock", single::superblock),
    ("catalog_key", single::catalog_key),
    ("catalog_record", single::catalog_record),
    ("handle", single::handle),
    ("frame", framed::frame),
    ("segment", framed::segment),
    ("batch", framed::batch),
    ("edit", framed::edit),
    ("manifest", framed::manifest),
    ("block", sorted::block),
    ("built_block", sorted::built_block),
    ("filter", sorted::filter),
    ("footer", sorted::footer),
    ("partitions", sorted::partitions),
    ("properties", sorted::properties),
    ("store", store::store),
];

/// Runs a target.
///
/// # Panics
/// If there is no such target, or the input breaks a promise.
pub fn run(name: &str, input: &[u8]) -> bool {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = found.expect("the fuzz crate names the targets of this table");
    target(input)
}

/// Bytes of fixed length, from the first ones of an input; zeros where there are none.
fn padded<const N: usize>(input: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let len = input.len().min(N);
    out[..len].copy_from_slice(&input[..len]);
    out
}
