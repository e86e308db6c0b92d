//! Whole files as byte slices, stages that are written in memory, and the one system call that
//! reserves space for a file: where a file's bytes live, in memory and on the device.

use std::fmt::{self, Debug};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::faults::{self, Known, Use};
use crate::prefetch;

/// Bytes of the smallest pages that there are.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// Bytes of the largest pages that files are mapped in, on most processors.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;

/// Bytes of a stage that are asked for before they are written.
const AHEAD: usize = 256;

/// Bytes that the system is asked to read at a time. Of more it may take a part, and forget the rest.
const READ_AHEAD: usize = 512 << 10;

/// The bytes of a finished file. Cheap to clone; the bytes live as long as the last clone, also
/// after the file was removed.
///
/// A mapped file must never be written or shortened by anybody: the engine maps only files that
/// are finished, synced and immutable. A device that cannot read a page raises `SIGBUS` in
/// whoever touches it, and so does a page behind the end of a file that was cut short all the same. Who touches bytes
/// first asks [`Mapping::populate`], which tells; for later there is [`catch_faults`](super::catch_faults).
#[derive(Clone)]
pub struct Mapping {
    owner: Owner,
}

/// A closed set, so that [`Mapping::bytes`] is a branch and not a virtual call.
#[derive(Clone)]
enum Owner {
    Mmap(Arc<Mapped>),
    Image(Arc<Vec<u8>>),
    /// An image of which every reading asks first.
    #[cfg(any(test, feature = "sim"))]
    Watched(Arc<Vec<u8>>, Watch),
}

/// A mapped file.
struct Mapped {
    own: Whole,
    /// What callers look at, where faults are caught.
    lent: Option<Whole>,
}

/// One map of a whole file. What the handler knows of it goes first.
struct Whole {
    known: Known,
    map: memmap2::Mmap,
}

/// Whether a mapped file can be read now.
#[cfg(any(test, feature = "sim"))]
pub(super) type Watch = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

impl Mapping {
    /// A mapping of bytes in memory: simulated files, and files of an in-memory store.
    pub fn image(bytes: Arc<Vec<u8>>) -> Mapping {
        Mapping { owner: Owner::Image(bytes) }
    }

    /// A mapping whose [`read`](Mapping::read) fails when `watch` does.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn watched(bytes: Arc<Vec<u8>>, watch: Watch) -> Mapping {
        Mapping { owner: Owner::Watched(bytes, watch) }
    }

    /// Maps the whole of an open file, which has this path.
    pub(super) fn of_file(file: &File, path: &Path) -> io::Result<Mapping> {
        // An empty range cannot be mapped.
        if file.metadata()?.len() == 0 {
            return Ok(Mapping::image(Arc::new(Vec::new())));
        }
        let mapped = if faults::caught() {
            let lent = Some(Whole::new(file, path, Use::Lent)?);
            Mapped { own: Whole::new(file, path, Use::Engine)?, lent }
        } else {
            Mapped { own: Whole::new(file, path, Use::Lent)?, lent: None }
        };
        Ok(Mapping { owner: Owner::Mmap(Arc::new(mapped)) })
    }

    /// Says that these bytes will be read soon, so that the device can fetch them meanwhile.
    pub fn will_need(&self, range: Range<usize>) {
        if let Owner::Mmap(mapped) = &self.owner {
            let map = &mapped.own.map;
            let (start, len) = inside_of(map, range);
            // Advice that is refused changes speed, not results.
            let _ = map.advise_range(memmap2::Advice::WillNeed, start, len);
        }
    }

    /// Says so of all bytes.
    pub fn will_need_all(&self) {
        let len = self.bytes().len();
        for start in (0..len).step_by(READ_AHEAD) {
            self.will_need(start..(start + READ_AHEAD).min(len));
        }
    }

    /// Whether most of it is in memory.
    pub fn is_resident(&self) -> bool {
        match &self.owner {
            Owner::Mmap(map) => is_resident(&map.own.map),
            _ => true,
        }
    }

    /// All bytes of the file, for the engine alone: whoever looks at them is inside of it, and asks behind that whether
    /// there was a fault (`env::faults`).
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.owner {
            Owner::Mmap(mapped) => &mapped.own.map,
            Owner::Image(bytes) => bytes,
            #[cfg(any(test, feature = "sim"))]
            Owner::Watched(bytes, _) => bytes,
        }
    }

    /// The same bytes, for callers, who look at them when they like.
    #[inline]
    pub fn lent(&self) -> &[u8] {
        match &self.owner {
            Owner::Mmap(mapped) => &mapped.lent.as_ref().unwrap_or(&mapped.own).map,
            _ => self.bytes(),
        }
    }

    /// The bytes of a range, for whoever comes to it anew; `None` if it is not inside the file.
    ///
    /// # Errors
    /// A device that cannot read them, where the environment can tell; a file that has failed before.
    #[inline]
    pub fn read(&self, range: Range<usize>) -> io::Result<Option<&[u8]>> {
        #[cfg(any(test, feature = "sim"))]
        if let Owner::Watched(_, watch) = &self.owner {
            watch()?;
        }
        if faults::any() {
            self.check_for_faults()?;
        }
        Ok(self.bytes().get(range))
    }

    /// Whether the file has failed: then what was read of it before this may have been anything.
    ///
    /// # Errors
    /// It has.
    #[inline]
    pub fn check(&self) -> io::Result<()> {
        if faults::count() == 0 { Ok(()) } else { self.check_for_faults() }
    }

    #[cold]
    fn check_for_faults(&self) -> io::Result<()> {
        let Owner::Mmap(mapped) = &self.owner else { return Ok(()) };
        match mapped.own.known.failed() {
            Some(offset) => Err(unreadable(offset, "a fault there since the file was opened")),
            None => Ok(()),
        }
    }

    /// Has the system read a range that nobody has touched yet, so that it can tell what a touch could not. Where the
    /// system has no such call, or does not allow it, nothing happens.
    ///
    /// # Errors
    /// A device that cannot read it, or a file that was cut short.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        self.check()?;
        #[cfg(target_os = "linux")]
        if let Owner::Mmap(mapped) = &self.owner {
            populate(&mapped.own.map, range)?;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
        Ok(())
    }
}

impl Whole {
    fn new(file: &File, path: &Path, by: Use) -> io::Result<Whole> {
        // SAFETY: a mapping is sound while nobody changes the bytes under it. `Env::map` is only
        // for finished files: the engine never opens one for writing again, never shortens one,
        // and only ever removes its name, which leaves the mapped pages alone. A stranger who
        // writes into the store's files from outside breaks this; every block is checksummed
        // for that reason, and no code relies on mapped bytes staying equal for its safety. So the handler of
        // faults may put zeros there, too.
        let map = unsafe { memmap2::Mmap::map(file)? };
        // A point read wants one page; read-ahead would fetch megabytes for it. Who reads in
        // order says so (`will_need`). Advice that is refused changes speed, not results.
        let _ = map.advise(memmap2::Advice::Random);
        Ok(Whole { known: Known::new(&map, path, by), map })
    }
}

/// As much of a range as is inside of a map: where it starts, and its length.
fn inside_of(map: &[u8], range: Range<usize>) -> (usize, usize) {
    let end = range.end.min(map.len());
    let start = range.start.min(end);
    (start, end - start)
}

/// See [`Mapping::populate`].
#[cfg(target_os = "linux")]
fn populate(map: &memmap2::Mmap, range: Range<usize>) -> io::Result<()> {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Systems before Linux 5.14 do not know the call.
    static UNKNOWN: AtomicBool = AtomicBool::new(false);
    if UNKNOWN.load(Ordering::Relaxed) {
        return Ok(());
    }
    let (start, len) = inside_of(map, range);
    let Err(error) = map.advise_range(memmap2::Advice::PopulateRead, start, len) else {
        return Ok(());
    };
    match error.raw_os_error() {
        Some(libc::EFAULT | libc::EIO | libc::EHWPOISON | libc::ENOMEM) => {
            Err(unreadable(start as u64, &error.to_string()))
        }
        refused => {
            let forever = matches!(refused, Some(libc::EINVAL | libc::ENOSYS | libc::EPERM));
            UNKNOWN.fetch_or(forever, Ordering::Relaxed);
            Ok(())
        }
    }
}

fn unreadable(offset: u64, why: &str) -> io::Error {
    io::Error::other(format!(
        "the bytes at offset {offset} cannot be read ({why}): the device fails there, or the file was cut short; look \
         into the system's log, then open the store again, or restore it from a copy"
    ))
}

impl Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.owner {
            Owner::Mmap(_) => "mmap",
            Owner::Image(_) => "image",
            #[cfg(any(test, feature = "sim"))]
            Owner::Watched(..) => "simulated",
        };
        write!(f, "Mapping({kind}, {} bytes)", self.bytes().len())
    }
}

/// A stage that is written in memory. The system has it, whatever becomes of the process.
#[derive(Debug)]
pub(super) struct StageMap {
    map: memmap2::MmapMut,
    /// Why its pages are not locked in memory, if they are not.
    unlocked: Option<String>,
}

impl StageMap {
    /// Maps a new file, if nothing can go wrong there: a page without a place on the device raises
    /// `SIGBUS` in whoever writes to it. So the space must be `promised`, by a file system that
    /// overwrites where it has written. The error says why it is not mapped.
    pub(super) fn of(file: &File, promised: bool) -> Result<StageMap, String> {
        if !promised {
            return Err("this file system does not reserve space".to_owned());
        }
        if !overwrites_in_place(file) {
            let why = "this file system may need new space to write where it has written before";
            return Err(why.to_owned());
        }
        // SAFETY: the file is new, and only this mapping writes to it. Readers of the file expect any
        // bytes in it. Nobody shortens it: it is removed as a whole, which leaves the pages alone.
        let map = unsafe { memmap2::MmapMut::map_mut(file) };
        let map = map.map_err(|error| format!("it cannot be mapped: {error}"))?;
        // What stays in memory need not be read again from a device that has gone bad. A limit on
        // locked memory may forbid it: then that is left to chance.
        let unlocked = map.lock().err().map(|error| error.to_string());
        Ok(StageMap { map, unlocked })
    }

    pub(super) fn unlocked(&self) -> Option<&str> {
        self.unlocked.as_deref()
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let place = self.map.get_mut(start..start.saturating_add(bytes.len()));
        place.ok_or_else(super::outside_of_stage)?.copy_from_slice(bytes);
        // The next commit comes there.
        prefetch::write(self.map.as_ptr().wrapping_add(start + bytes.len()), AHEAD);
        Ok(())
    }
}

/// Whether a file system never needs new space to write where it has written before: ext2 to 4 and memory
/// do not, as far as is known. XFS does where a copy of the file shares its space.
fn overwrites_in_place(file: &File) -> bool {
    matches!(file_system(file), Some(EXT | TMPFS))
}

/// Whether a file system says rightly where data is. Others have called data a hole that was written a moment
/// before, which would pass for the end of a log.
#[cfg(target_os = "linux")]
fn tells_data(file: &File) -> bool {
    matches!(file_system(file), Some(EXT | TMPFS | XFS))
}

const EXT: i64 = 0xEF53;
const TMPFS: i64 = 0x0102_1994;
#[cfg(target_os = "linux")]
const XFS: i64 = 0x5846_5342;

/// The number of the file system that a file is on.
#[cfg(target_os = "linux")]
fn file_system(file: &File) -> Option<i64> {
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;

    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the pointer is to a place for what the call writes, and the descriptor is open as long as
    // `file` is borrowed here.
    if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call has succeeded, so it has written it.
    let found = unsafe { found.assume_init() };
    #[allow(clippy::unnecessary_cast, reason = "its type differs between processors")]
    Some(found.f_type as i64)
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &File) -> Option<i64> {
    None
}

/// Reserves the first `len` bytes of a new file, which then read as zeros and count to its length. False
/// if the file system cannot promise that they can be written.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    use std::os::fd::AsRawFd;

    if len == 0 {
        return Ok(true); // fallocate calls an empty range invalid
    }
    let size = libc::off_t::try_from(len)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "file length out of range"))?;
    loop {
        // SAFETY: fallocate takes no pointers; the descriptor is open as long as `file` is
        // borrowed here.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return file.set_len(len).map(|()| false),
            _ => return Err(error),
        }
    }
}

/// Sets the length of a new file: this system has no common call that reserves space.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    file.set_len(len).map(|()| false)
}

/// The bytes of a whole file. Where it has no data, nothing is read: a segment has its space before it has
/// anything in it. A file that somebody cuts short meanwhile is shorter. `None` where the file system is not
/// known to say rightly where data is.
#[cfg(target_os = "linux")]
pub(super) fn read_data(file: &File) -> Option<io::Result<Vec<u8>>> {
    tells_data(file).then(|| {
        let len = file.metadata()?.len();
        let mut bytes = zeros(len)?;
        // All at once, and nothing ahead: behind the data there is none.
        advise(file, 0, 0, libc::POSIX_FADV_RANDOM);
        fill(file, &mut bytes)?;
        let now = file.metadata()?.len();
        bytes.truncate(usize::try_from(now).unwrap_or(usize::MAX));
        Ok(bytes)
    })
}

/// So many zeros, which take no memory before they are looked at; an error where there is no room for them.
#[cfg(target_os = "linux")]
fn zeros(len: u64) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::from(io::ErrorKind::OutOfMemory);
    let len = usize::try_from(len).map_err(|_| too_long())?;
    Vec::<u8>::new().try_reserve_exact(len).map_err(|_| too_long())?;
    Ok(vec![0; len])
}

/// Reads what is data.
#[cfg(target_os = "linux")]
fn fill(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;

    let mut end = 0;
    while let Some(start) = seek(file, end, libc::SEEK_DATA)?.filter(|start| *start < bytes.len()) {
        let hole = seek(file, start, libc::SEEK_HOLE)?.filter(|hole| *hole > start);
        end = hole.map_or(bytes.len(), |hole| hole.min(bytes.len()));
        let mut at = start;
        while at < end {
            match file.read_at(&mut bytes[at..end], at as u64) {
                // It has been cut short.
                Ok(0) => return Ok(()),
                Ok(read) => at += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Whether more than half of the pages of a mapping are in memory; yes where the system does not say.
#[cfg(target_os = "linux")]
fn is_resident(map: &memmap2::Mmap) -> bool {
    let mut pages = vec![0_u8; map.len().div_ceil(PAGE)];
    let start = map.as_ptr().cast_mut().cast();
    // SAFETY: the mapping is there as long as it is borrowed; the call writes one byte for each of its pages, for
    // which there is room, since no system has smaller ones.
    if unsafe { libc::mincore(start, map.len(), pages.as_mut_ptr()) } != 0 {
        return true;
    }
    pages.iter().filter(|page| *page & 1 == 1).count() > pages.len() / 2
}

#[cfg(not(target_os = "linux"))]
fn is_resident(_: &memmap2::Mmap) -> bool {
    true
}

/// Brings a file into the page cache; see [`Env::warm`](super::Env::warm).
#[cfg(unix)]
pub(super) fn warm(file: &File, go_on: &mut dyn FnMut() -> bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if warm_in_large_pages(file, go_on).is_ok() {
        return Ok(());
    }
    warm_by_reading(file, go_on)
}

/// The same, in pages of two megabytes where the file system can have such: whoever maps them then misses the
/// processor's memory of addresses five hundred times less. Where the system does not want to, and does not say so, they
/// come in pages of some other size.
#[cfg(target_os = "linux")]
fn warm_in_large_pages(file: &File, go_on: &mut dyn FnMut() -> bool) -> io::Result<()> {
    let len = file.metadata()?.len();
    if len < LARGE_PAGE as u64 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: as in `Whole::new`; nobody looks at its bytes.
    let map = unsafe { memmap2::Mmap::map(file)? };
    map.advise(memmap2::Advice::HugePage)?;
    for start in (0..map.len()).step_by(LARGE_PAGE) {
        if !go_on() {
            break;
        }
        let len = LARGE_PAGE.min(map.len() - start);
        map.advise_range(memmap2::Advice::PopulateRead, start, len)?;
    }
    Ok(())
}

/// The same, in pages of the system's choice. They are not mapped here: what a device cannot read is an error to whoever
/// asks for it by name.
#[cfg(unix)]
fn warm_by_reading(file: &File, go_on: &mut dyn FnMut() -> bool) -> io::Result<()> {
    use std::os::unix::fs::FileExt;

    let len = file.metadata()?.len();
    for start in (0..len).step_by(READ_AHEAD) {
        if !go_on() {
            break;
        }
        let end = (start + READ_AHEAD as u64).min(len);
        #[cfg(target_os = "linux")]
        advise(file, start, end - start, libc::POSIX_FADV_WILLNEED);
        // Whoever reads the last byte waits for it.
        let _ = file.read_at(&mut [0], end - 1)?;
    }
    Ok(())
}

/// Advice that is refused changes speed, not results.
#[cfg(target_os = "linux")]
fn advise(file: &File, start: u64, len: u64, what: libc::c_int) {
    use std::os::fd::AsRawFd;

    let range = libc::off_t::try_from(start).ok().zip(libc::off_t::try_from(len).ok());
    let Some((start, len)) = range else { return };
    // SAFETY: fadvise takes no pointers; the descriptor is open as long as `file` is borrowed here.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), start, len, what) };
}

/// Where data, or a hole, begins at or behind `from`. `None`: nowhere.
#[cfg(target_os = "linux")]
fn seek(file: &File, from: usize, what: libc::c_int) -> io::Result<Option<usize>> {
    use std::os::fd::AsRawFd;

    let from = libc::off_t::try_from(from).unwrap_or(libc::off_t::MAX);
    // SAFETY: lseek takes no pointers; the descriptor is open as long as `file` is borrowed here.
    let found = unsafe { libc::lseek(file.as_raw_fd(), from, what) };
    if let Ok(found) = usize::try_from(found) {
        return Ok(Some(found));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENXIO) => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    #[cfg_attr(miri, ignore = "a file system")]
    fn a_mapping_outlives_the_name_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        File::create(&path).unwrap().write_all(b"stores").unwrap();
        let mapping = Mapping::of_file(&File::open(&path).unwrap(), &path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(mapping.clone().bytes(), b"stores");
        assert_eq!(format!("{mapping:?}"), "Mapping(mmap, 6 bytes)");
    }

    #[test]
    #[cfg_attr(miri, ignore = "a file system")]
    #[cfg(target_os = "linux")]
    fn what_a_touch_could_not_tell_is_told_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(3 << 20).unwrap();
        let mapping = Mapping::of_file(&file, &path).unwrap();
        mapping.populate(0..3 << 20).unwrap();
        mapping.populate(usize::MAX..usize::MAX).unwrap();
        file.set_len(1 << 20).unwrap();
        mapping.populate(0..1 << 20).unwrap();
        let error = mapping.populate((2 << 20) - 5..2 << 20).unwrap_err().to_string();
        assert!(error.contains("offset 2097147 ") && error.contains("cut short"), "{error}");
        // What has its pages is read as before, and another mapping is, too.
        assert_eq!(mapping.read(0..9).unwrap(), Some(&[0; 9][..]));
        Mapping::of_file(&file, &path).unwrap().populate(0..1 << 20).unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "a file system")]
    fn an_empty_file_maps_to_no_bytes() {
        let file = tempfile::tempfile().unwrap();
        assert!(Mapping::of_file(&file, Path::new("f")).unwrap().bytes().is_empty());
    }

    #[test]
    #[cfg_attr(miri, ignore = "a file system")]
    #[cfg(target_os = "linux")]
    fn what_was_warmed_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        // In large pages, with a rest, and in others.
        for len in [(4 << 20) + 5, LARGE_PAGE, 70_000, 1, 0] {
            let path = dir.path().join(len.to_string());
            let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
            (&file).write_all(&vec![7; len]).unwrap();
            file.sync_all().unwrap();
            advise(&file, 0, len as u64, libc::POSIX_FADV_DONTNEED);
            let mut pieces = 0;
            warm(&file, &mut || {
                pieces += 1;
                true
            })
            .unwrap();
            assert!(pieces >= len.div_ceil(LARGE_PAGE), "{pieces} of {len}");
            let mapping = Mapping::of_file(&file, &path).unwrap();
            assert!(mapping.is_resident(), "{len}");
            assert_eq!(mapping.bytes(), &vec![7; len][..]);
        }
        // One that says no is not asked again.
        let file = File::open(dir.path().join(((4 << 20) + 5).to_string())).unwrap();
        let mut asked = 0;
        warm(&file, &mut || {
            asked += 1;
            false
        })
        .unwrap();
        assert_eq!(asked, 1);
    }

    #[test]
    fn an_image_shares_its_bytes() {
        let bytes = Arc::new(b"image".to_vec());
        let mapping = Mapping::image(Arc::clone(&bytes));
        assert_eq!(mapping.bytes().as_ptr(), bytes.as_ptr());
    }

    #[test]
    #[cfg_attr(miri, ignore = "a file system")]
    fn reserved_space_reads_as_zeros() {
        let file = tempfile::tempfile().unwrap();
        reserve(&file, 0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        reserve(&file, 10_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10_000);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a file system")]
    #[cfg(target_os = "linux")]
    fn a_length_no_file_can_have_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(reserve(&file, u64::MAX).is_err());
        // 8 EiB: the kernel refuses it, with EFBIG or ENOSPC.
        assert!(reserve(&file, i64::MAX as u64).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "a file system")]
    fn a_file_with_holes_is_read_as_it_is() {
        use std::os::unix::fs::FileExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for (len, data) in
            [(0, &[][..]), (3 << 20, &[]), (3 << 20, &[5, 1 << 20, (3 << 20) - 1]), (10, &[9])]
        {
            let file =
                File::options().read(true).write(true).create(true).truncate(true).open(&path);
            let file = file.unwrap();
            reserve(&file, len).unwrap();
            for at in data {
                file.write_all_at(&[7], *at).unwrap();
            }
            let mut bytes = vec![0; len as usize];
            fill(&file, &mut bytes).unwrap();
            assert_eq!(bytes, std::fs::read(&path).unwrap());
            assert!(read_data(&file).is_none_or(|read| read.unwrap() == bytes));
        }
    }
}
