//! Signs of life that nothing else counts, for what feeds the watchdog ([`crate::daemon`]): a large file is read for minutes and
//! sent for minutes before anything of it is settled.
//!
//! The watchdog is one for the whole process, and so are these.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

static SIGNS: AtomicU64 = AtomicU64::new(0);
static PATIENT: AtomicUsize = AtomicUsize::new(0);

/// A piece of a file was read, or of a body sent; a request was made or answered; a try has ended.
pub fn show() {
    SIGNS.fetch_add(1, Relaxed);
}

/// How many there were since the start.
pub fn count() -> u64 {
    SIGNS.load(Relaxed)
}

/// Whether something is waited for that shows no sign meanwhile, and that has a time limit of its own.
pub fn is_patient() -> bool {
    PATIENT.load(Relaxed) > 0
}

/// As long as this lives, silence is no fault.
#[derive(Debug)]
pub struct Patient(());

impl Patient {
    /// From here on.
    pub fn begin() -> Self {
        PATIENT.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        PATIENT.fetch_sub(1, Relaxed);
        show();
    }
}
