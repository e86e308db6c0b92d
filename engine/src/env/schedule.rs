//! What a system is told of a thread.

/// The calling thread works through what can wait: its wake-ups interrupt nobody. It gets as much of a processor as
/// before, so that whoever comes to wait for it does not wait longer. A policy that the program has chosen for its
/// threads stays.
#[cfg(target_os = "linux")]
pub(super) fn in_background() {
    // SAFETY: no pointers; 0 is the calling thread.
    if unsafe { libc::sched_getscheduler(0) } != libc::SCHED_OTHER {
        return;
    }
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a place that outlives the call, which only reads it. A system that refuses changes
    // speed, not results.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameter) };
}

/// Other systems have no common word for it.
#[cfg(not(target_os = "linux"))]
pub(super) fn in_background() {}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    #[test]
    #[cfg_attr(miri, ignore = "a scheduler")]
    fn a_thread_says_so_of_itself_alone() {
        // SAFETY: no pointers; 0 is the calling thread.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let inside = std::thread::spawn(move || {
            super::in_background();
            policy()
        });
        let expected = if before == libc::SCHED_OTHER { libc::SCHED_BATCH } else { before };
        assert_eq!(inside.join().unwrap(), expected);
        assert_eq!(policy(), before);
    }
}
