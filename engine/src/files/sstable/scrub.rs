//! Reads a table from the device, a piece at a time, and holds it against its checksums.
//!
//! Nothing of this goes through the mapping: what the page cache has is not what is asked about, and what a device
//! cannot read is an error.

use orlop_formats::checksum;
use orlop_formats::file_header::{FileHeader, FileKind, HEADER_LEN};
use orlop_formats::sstable::{FOOTER_LEN, Footer, Handle};

use super::reader::Table;
use crate::env::{Env, is_scarcity};
use crate::error::{Error, Result};

/// Bytes that are read at a time, or a block if that is larger.
const PIECE: u64 = 256 << 10;

/// These have their checksums inside.
const HEADER: &str = "file header";
const FOOTER: &str = "footer";

/// What one piece has shown.
#[derive(Debug, Default)]
pub(crate) struct Scrubbed {
    /// Where to go on; `None`: this was the last piece.
    pub(crate) next: Option<usize>,
    /// Bytes that were asked for.
    pub(crate) asked: u64,
    /// Bytes that were read.
    pub(crate) bytes: u64,
    /// What cannot be read, or is not what was written.
    pub(crate) damage: Vec<Error>,
}

/// One stretch of a table with a checksum of its own.
#[derive(Debug, Clone, Copy)]
struct Sealed {
    offset: u64,
    len: u64,
    what: &'static str,
}

impl Sealed {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

impl Table {
    /// Checks the piece that begins with stretch number `from`: data blocks first, then what says where they are.
    ///
    /// A block that is damaged is checked again by whoever reads it next.
    ///
    /// # Errors
    /// This process lacks what it takes to read; damage that was found is no error.
    pub(crate) fn scrub(&self, env: &dyn Env, from: usize) -> Result<Scrubbed> {
        let regions = self.regions();
        let mut scrubbed = Scrubbed::default();
        let mut piece: Vec<(usize, Sealed)> = Vec::new();
        let mut at = from;
        loop {
            match self.stretch(at, &regions) {
                Ok(Some(sealed)) if fits(&piece, &sealed) => {
                    piece.push((at, sealed));
                    at += 1;
                }
                Err(error) if piece.is_empty() => {
                    // Where these blocks lie nobody knows; others can be found.
                    scrubbed.damage.push(error);
                    at = self.end_of_part(at);
                }
                Ok(_) | Err(_) => break,
            }
        }
        self.check_piece(env, &piece, &mut scrubbed)?;
        scrubbed.next = (at < self.all_blocks() + regions.len()).then_some(at);
        Ok(scrubbed)
    }

    /// Stretch number `at` of the file; `None` behind the last one.
    fn stretch(&self, at: usize, regions: &[Sealed]) -> Result<Option<Sealed>> {
        match at.checked_sub(self.all_blocks()) {
            Some(at) => Ok(regions.get(at).copied()),
            None => {
                let Handle { offset, len } = self.handle_of(at)?;
                Ok(Some(Sealed { offset, len: u64::from(len), what: "data block" }))
            }
        }
    }

    fn check_piece(
        &self,
        env: &dyn Env,
        piece: &[(usize, Sealed)],
        scrubbed: &mut Scrubbed,
    ) -> Result<()> {
        let (Some((at, first)), Some((_, last))) = (piece.first(), piece.last()) else {
            return Ok(());
        };
        let whole = first.offset..last.end();
        scrubbed.asked += whole.end - whole.start;
        match env.read_device(self.path(), whole.start, whole.end - whole.start) {
            Ok(bytes) => {
                scrubbed.bytes += bytes.len() as u64;
                for (at, sealed) in piece {
                    let start = (sealed.offset - whole.start) as usize;
                    let bytes = bytes.get(start..).unwrap_or_default();
                    self.judge(*at, sealed, bytes, scrubbed);
                }
            }
            Err(source) if is_scarcity(&source) => {
                return Err(Error::io("read", self.path(), source));
            }
            // Which of them cannot be read?
            Err(_) if piece.len() > 1 => {
                for one in piece {
                    self.check_piece(env, std::slice::from_ref(one), scrubbed)?;
                }
            }
            Err(source) => {
                self.found_damage(*at, Error::io("read", self.path(), source), scrubbed);
            }
        }
        Ok(())
    }

    fn judge(&self, at: usize, sealed: &Sealed, bytes: &[u8], scrubbed: &mut Scrubbed) {
        let len = usize::try_from(sealed.len).unwrap_or(usize::MAX);
        let judged = match bytes.get(..len) {
            None => {
                let expected = format!("{} bytes in a file of {}", sealed.len, self.meta().size);
                let found = format!("{} bytes", bytes.len());
                Err(Error::corrupt(self.path(), sealed.what, sealed.offset, expected, found))
            }
            Some(bytes) => self.judge_whole(sealed, bytes),
        };
        if let Err(error) = judged {
            self.found_damage(at, error, scrubbed);
        }
    }

    fn judge_whole(&self, sealed: &Sealed, bytes: &[u8]) -> Result<()> {
        let place = self.place();
        let judged = match sealed.what {
            HEADER => {
                let store = Some(place.store);
                FileHeader::decode_expecting(bytes, FileKind::Sstable, store, place.file).map(drop)
            }
            FOOTER => Footer::decode(bytes, place, sealed.offset).map(drop),
            what => checksum::open(bytes, place, sealed.offset, what).map(drop),
        };
        judged.map_err(|source| Error::decode(self.path(), source))
    }

    fn found_damage(&self, at: usize, error: Error, scrubbed: &mut Scrubbed) {
        self.doubt(at);
        scrubbed.damage.push(error);
    }

    /// What is no data block.
    fn regions(&self) -> Vec<Sealed> {
        let footer = self.meta().size.saturating_sub(FOOTER_LEN as u64);
        let sealed = |((offset, len), what)| Sealed { offset, len, what };
        let header = ((0, HEADER_LEN as u64), HEADER);
        let footer = ((footer, FOOTER_LEN as u64), FOOTER);
        [header].into_iter().chain(self.sealed_regions()).chain([footer]).map(sealed).collect()
    }
}

/// Whether a stretch is read with those before it.
fn fits(piece: &[(usize, Sealed)], next: &Sealed) -> bool {
    piece
        .first()
        .is_none_or(|(_, first)| next.offset >= first.offset && next.end() - first.offset <= PIECE)
}
